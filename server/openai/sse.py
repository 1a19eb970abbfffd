"""Server-sent events as bytes. Pure."""

from __future__ import annotations

import re

_LINE_ENDS = re.compile(rb"\xc2\x85|\xe2\x80[\xa8\xa9]")

DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n"
"""A line of its own between two events. An empty line after it would end an event that has no data, and some
clients take that for the end of the stream."""
CONTENT_TYPE = "text/event-stream; charset=utf-8"


def data(json: bytes) -> bytes:
    """Return one event. `json` is on one line, as msgspec writes it."""
    return b"data: %b\n\n" % json


def escape_line_ends(lines: bytes) -> bytes:
    """Return lines of JSON with U+0085, U+2028 and U+2029 escaped, line ends that only some readers know.

    JSON and server-sent events allow them, but what splits lines as Python's `str.splitlines` does (httpx's
    `iter_lines`, and so ollama's client) would end the line there.
    """
    if b"\xc2\x85" in lines or b"\xe2\x80" in lines:
        return _LINE_ENDS.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), lines)
    return lines
