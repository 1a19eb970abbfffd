"""`ChatImages`: the images of one chat, taken out of its contents, and a mark for each. Pure.

A mark is text that nobody could have written: the worker finds it in the rendered prompt, whatever the
template has done around it, and puts the image there.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from typing import Any

from models.errors import RequestError
from server.images.limits import MAX_BYTES, MAX_IMAGES
from server.ipc.chat_image import ChatImage

KINDS = ("image_url", "input_image", "image")
"""The kinds of parts that are images, of all protocols."""
_SECRET_DIGITS = 24


class ChatImages:
    """Collects a chat's images in their order."""

    def __init__(self) -> None:
        # Digits only: no filter of a template changes them.
        self._secret = "".join(str(secrets.randbelow(10)) for _ in range(_SECRET_DIGITS))
        self.found: list[ChatImage] = []

    @property
    def mark(self) -> str:
        """The beginning of every mark, before the image's number in seven digits; "" without images."""
        return self._secret if self.found else ""

    def take(self, part: Mapping[str, Any], path: str) -> str:
        """Take the image of a part of `KINDS`, and return its mark. Raises RequestError naming the part."""
        kind = part["type"]
        if kind == "image":
            return self._add(_of_source(part.get("source"), f"{path}.source"), path)
        given = part.get("image_url")
        if kind == "image_url" and isinstance(given, Mapping):
            return self.take_address(given.get("url"), f"{path}.image_url.url", path)
        if kind == "input_image" and given is None and part.get("file_id") is not None:
            raise RequestError(
                f"'{path}.file_id' names a file, and no images are kept here; send it as a data URL",
                param=f"{path}.file_id",
                code="unsupported_parameter",
            )
        return self.take_address(given, f"{path}.image_url", path)

    def take_address(self, url: Any, field: str, path: str) -> str:
        """Take an image by its data URL or http(s) address, and return its mark."""
        if not isinstance(url, str) or not url:
            raise RequestError(f"Invalid value for '{field}': must be a URL", param=field)
        head, comma, _ = url[:200].partition(",")
        if not head.lower().startswith("data:"):
            if not head.lower().startswith(("http://", "https://")):
                raise RequestError(
                    f"Invalid value for '{field}': must be a data URL, or one of http(s)", param=field
                )
            return self._add(ChatImage(url=url), path)
        if not comma or not head.lower().endswith(";base64"):
            raise RequestError(f"Invalid value for '{field}': its data must be in base64", param=field)
        return self._add(ChatImage(_decoded(url[len(head) + 1 :], field)), path)

    def take_base64(self, data: Any, path: str) -> str:
        """Take an image by its bytes in base64, as Ollama has it, and return its mark."""
        if not isinstance(data, str):
            raise RequestError(f"Invalid value for '{path}': must be an image in base64", param=path)
        if data[:5].lower() == "data:":
            return self.take_address(data, path, path)
        return self._add(ChatImage(_decoded(data, path)), path)

    def _add(self, image: ChatImage, path: str) -> str:
        if len(self.found) >= MAX_IMAGES:
            raise RequestError(
                f"the request has more than {MAX_IMAGES} images; send fewer",
                param=path,
                code="too_many_images",
            )
        self.found.append(ChatImage(image.data, image.url, path))
        return f"{self._secret}{len(self.found) - 1:07d}"


def _of_source(source: Any, path: str) -> ChatImage:
    """Return the image of an Anthropic part."""
    if not isinstance(source, Mapping):
        raise RequestError(f"Invalid value for '{path}': must be an object", param=path)
    match source.get("type"):
        case "base64":
            return ChatImage(_decoded(source.get("data"), f"{path}.data"))
        case "url":
            url = source.get("url")
            if not isinstance(url, str) or not url.lower().startswith(("http://", "https://")):
                raise RequestError(f"Invalid value for '{path}.url': must be an http(s) URL", f"{path}.url")
            return ChatImage(url=url)
    raise RequestError(
        f"Invalid value for '{path}.type': must be 'base64' or 'url'",
        param=f"{path}.type",
        code="unsupported_parameter",
    )


def _decoded(data: Any, path: str) -> bytes:
    """Return the bytes of a text in base64. Raises RequestError."""
    if not isinstance(data, str) or not data:
        raise RequestError(f"Invalid value for '{path}': must be an image in base64", param=path)
    if len(data) > 4 * (MAX_BYTES // 3 + 1):
        raise RequestError(
            f"the image of '{path}' has more than {MAX_BYTES:,} bytes; make it smaller",
            param=path,
            code="invalid_image",
        )
    try:
        found = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(
            f"Invalid value for '{path}': it isn't base64", param=path, code="invalid_image"
        ) from None
    return found
