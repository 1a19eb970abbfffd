"""The content of items as text: strings, or parts of which each has text. Pure."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

from models.errors import RequestError
from server.chat.content_parts import TEXT_FIELDS, joined_text
from server.chat.images import ChatImages

_FIELDS = {**TEXT_FIELDS, "summary_text": "text", "reasoning_text": "text"}
_SEAL = "corral-thoughts:"
_MOST_THOUGHTS = 4 << 20
"""Thoughts of more bytes than this aren't read from `encrypted_content`."""


def text_of(content: Any, path: str, images: ChatImages | None = None) -> str:
    """Return a content's text, its parts on lines of their own. Raises RequestError for other parts.

    `images` takes the images; None: there may be none.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestError(
            f"Invalid value for '{path}': must be a string or an array of parts",
            param=path,
            code="invalid_value",
        )
    for i, part in enumerate(content):
        if not isinstance(part, dict):
            raise RequestError(f"Invalid value for '{path}[{i}]': must be an object", param=f"{path}[{i}]")
    return joined_text(content, path, fields=_FIELDS, images=images)


def sealed(thoughts: str) -> str:
    """Return thoughts for `encrypted_content`: packed, for clients that keep that field alone. No secret."""
    return _SEAL + base64.b64encode(zlib.compress(thoughts.encode())).decode()


def unsealed(content: Any) -> str:
    """Return the thoughts of an `encrypted_content` of this server; no text for any other."""
    if not isinstance(content, str) or not content.startswith(_SEAL):
        return ""
    try:
        packed = base64.b64decode(content.removeprefix(_SEAL), validate=True)
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, _MOST_THOUGHTS)
        return "" if unpacker.unconsumed_tail else text.decode()
    except (binascii.Error, zlib.error, UnicodeDecodeError):
        return ""
