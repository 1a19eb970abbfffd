"""`with_case`: headers are sent with their names as they are written.

HTTP's names have no case, and uvicorn sends them all in lower case; programs made for llama-server alone may
look for them as it writes them.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Message, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def raw_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers for an ASGI message; Starlette would write their names in lower case."""
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def with_case(send: Send) -> Send:
    """Return a `send` for a request's answer; `send` itself is the server's own, with nothing around it."""
    if type(getattr(send, "__self__", None)) is not RequestResponseCycle:
        return send

    async def send_cased(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                (name if name.islower() else _CasedName(name), value) for name, value in message["headers"]
            ]
        await send(message)

    return send_cased


class _CasedName(bytes):
    """A name that stays as it is when it is to be made lower."""

    def lower(self) -> _CasedName:
        return self
