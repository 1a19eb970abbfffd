"""`unframed`: answers of unknown length to HTTP/1.0 clients end with the connection, without chunks.

uvicorn writes chunks whatever the client's version is. A request of HTTP/1.0 always has its connection closed
after the answer, so a body without frames has an end.
"""

from __future__ import annotations

from starlette.types import Message, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def unframed(scope: Scope, send: Send) -> Send:
    """Return a `send` for the request's answer; `send` itself is the server's own, with nothing around it."""
    cycle = getattr(send, "__self__", None)
    if scope["type"] != "http" or scope["http_version"] == "1.1" or type(cycle) is not RequestResponseCycle:
        return send
    has_length = False

    async def send_unframed(message: Message) -> None:
        nonlocal has_length
        if message["type"] == "http.response.start":
            has_length = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            if not has_length:
                cycle.chunked_encoding = False  # else uvicorn decides for chunks
        elif not has_length:
            cycle.expected_content_length = len(message.get("body", b""))  # each part is as long as it is
        await send(message)

    return send_unframed
