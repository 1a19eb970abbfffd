"""`NativePreflights`: CORS as llama-server does it, for its dialect. ASGI middleware.

Every preflight is answered with 200, and granted by its headers or not; an origin is named back, never `*`.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.http.cased_names import raw_headers
from server.http.origins import AllowedOrigins

_GRANT = {"Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS", "Access-Control-Allow-Headers": "*"}


class NativePreflights:
    """Lets pages of `origins` call every route. A foreign page's requests are others' to refuse."""

    def __init__(self, app: ASGIApp, origins: AllowedOrigins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope)
        origin = given.get("origin")
        allowed: dict[str, str] = {}
        if origin is not None and self._origins.allow(origin):
            # Credentials of a browser are cookies, of which this server has none.
            allowed = {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
        if scope["method"] == "OPTIONS" and "access-control-request-method" in given:
            response = Response(status_code=200, headers={"Vary": "Origin"})
            response.raw_headers += raw_headers({**allowed, **(_GRANT if allowed else {})})
            await response(scope, receive, send)
            return

        async def send_with_grant(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).add_vary_header("Origin")
                message["headers"] += raw_headers(allowed)
            await send(message)

        await self._app(scope, receive, send_with_grant)
