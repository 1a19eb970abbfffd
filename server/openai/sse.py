"""Server-sent events as bytes. Pure."""

from __future__ import annotations

DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n"
"""A line of its own between two events. An empty line after it would end an event that has no data, and some
clients take that for the end of the stream."""
CONTENT_TYPE = "text/event-stream; charset=utf-8"


def data(json: bytes) -> bytes:
    """Return one event. `json` is on one line, as msgspec writes it."""
    return b"data: %b\n\n" % json
