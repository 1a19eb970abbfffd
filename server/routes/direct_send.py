"""The server's own `send`, past the layers that wrap it.

Each layer of middleware wraps `send` to see how a response begins, and would be passed again by every token.
A stream begins through them, and sends the rest with this.
"""

from __future__ import annotations

from starlette.types import Scope, Send

_KEY = "corral.send"


def keep(scope: Scope, send: Send) -> None:
    """Remember `send`; called before any layer has wrapped it."""
    scope[_KEY] = send


def direct_send(scope: Scope, send: Send) -> Send:
    """What was kept, or `send` where nothing was. Only for a body: a response begins with `send`."""
    kept: Send | None = scope.get(_KEY)
    return send if kept is None else kept
