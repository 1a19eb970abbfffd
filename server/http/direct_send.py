"""The server's own `send`, past the layers that wrap it, and the shortest way to it.

Each layer of middleware wraps `send` to see how a response begins, and would be passed again by every token.
A stream begins through them, and sends the rest with this.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

AtOnce = Callable[[bytes], bool]

_KEY = "corral.send"


def keep(scope: Scope, send: Send) -> None:
    """Remember `send`; called before any layer has wrapped it."""
    scope[_KEY] = send


def direct_send(scope: Scope, send: Send) -> Send:
    """What was kept, or `send` where nothing was. Only for a body: a response begins with `send`."""
    kept: Send | None = scope.get(_KEY)
    return send if kept is None else kept


def at_once(send: Send) -> AtOnce | None:
    """Writes a part of a chunked body as uvicorn's `send` does, without a coroutine; None for other servers.

    It gives False, and has done nothing, where that `send` would wait or has more to do than to write.
    """
    cycle = getattr(send, "__self__", None)
    if type(cycle) is not RequestResponseCycle or cycle.scope["method"] == "HEAD":
        return None
    flow, write = cycle.flow, cycle.transport.write

    def write_part(part: bytes) -> bool:
        if flow.write_paused or cycle.disconnected or cycle.response_complete or not cycle.chunked_encoding:
            return False
        write(b"%x\r\n%b\r\n" % (len(part), part))
        return True

    return write_part
