"""`ChatImage`: an image of a chat as its client sent it, on its way to the worker that decodes it."""

from __future__ import annotations

import msgspec


class ChatImage(msgspec.Struct, frozen=True, array_like=True):
    """The bytes of an image file, or the address to fetch them from: one of the two is empty."""

    data: bytes = b""
    url: str = ""
    param: str = "messages"
    """The name of the part that holds it, for error messages."""
