"""The parts of a message's content: their text, or a refusal that names what can't be read. Pure.

All protocols come here: a kind of part that a model is to see gets its place in this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from models.errors import RequestError
from server.chat.images import KINDS, ChatImages

Part = Mapping[str, Any]
Piece = tuple[str, bool]
"""A text, or with True an image's mark."""

TEXT_FIELDS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""The kinds of parts that are text, of all protocols, and the field that holds it."""
THOUGHT_FIELDS = {"thinking": "thinking", "reasoning": "text", "reasoning_text": "text"}
"""The kinds of parts that are an earlier answer's thoughts, and the field that holds them."""
MEDIA = {
    "image_url": "images",
    "image": "images",
    "input_image": "images",
    "image_file": "images",
    "input_audio": "audio",
    "audio": "audio",
    "audio_url": "audio",
    "video": "video",
    "video_url": "video",
    "input_video": "video",
    "file": "files",
    "input_file": "files",
    "document": "documents",
    "container_upload": "files",
    "search_result": "search results",
}
"""The kinds of parts that aren't text, and what they are called. Images have a place in some messages."""


def joined_text(
    content: str | Sequence[Part] | None,
    path: str,
    *,
    fields: Mapping[str, str] = TEXT_FIELDS,
    separator: str = "\n",
    images: ChatImages | None = None,
) -> str:
    """Return a content as one string. Raises RequestError for a part that is no text; `path` is its name.

    `images` takes the images, whose marks stand in the text without a separator; None: there may be none.
    """
    if content is None or isinstance(content, str):
        return content or ""
    pieces: list[Piece] = []
    for i, part in enumerate(content):
        part_path = f"{path}[{i}]"
        if images is not None and part.get("type") in KINDS:
            pieces.append((images.take(part, part_path), True))
        else:
            pieces.append((part_text(part, part_path, fields=fields), False))
    return joined(pieces, separator)


def joined(pieces: Iterable[Piece], separator: str = "\n") -> str:
    """Return texts and images' marks as one string, with a separator between texts that follow each other."""
    text, after_mark = "", True
    for piece, is_mark in pieces:
        text += piece if is_mark or after_mark else separator + piece
        after_mark = is_mark
    return text


def part_text(part: Part, path: str, *, fields: Mapping[str, str] = TEXT_FIELDS) -> str:
    """Return the text of one part; `fields` says where each kind has it. Raises RequestError for others."""
    kind = part.get("type")
    field = fields.get(kind) if isinstance(kind, str) else None
    if field is None:
        raise refusal(part, path, fields)
    text = part.get(field)
    if not isinstance(text, str):
        raise RequestError(f"Invalid value for '{path}.{field}': must be a string", param=f"{path}.{field}")
    return text


def refusal(part: Part, path: str, fields: Mapping[str, str] = TEXT_FIELDS) -> RequestError:
    """Return the error for a part that is no text: a medium by its name, else a kind that nobody knows."""
    kind = part.get("type")
    medium = MEDIA.get(kind) if isinstance(kind, str) else None
    if medium is not None:
        return RequestError(
            f"content of type '{kind}' is not supported {_where(medium)}; send text",
            param=path,
            code="unsupported_parameter",
        )
    known = ", ".join(f"'{name}'" for name in fields)
    return RequestError(
        f"Invalid value for '{path}.type': must be one of {known}", param=f"{path}.type", code="invalid_value"
    )


def _where(medium: str) -> str:
    if medium == "images":
        return "here: images are shown in messages of the user and in results of tools"
    return f"by this server yet: models are shown no {medium}"
