"""`Preflights`: CORS as Starlette does it, with refusals in OpenAI's form. ASGI middleware."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from server.http import refusals
from server.http.error_response import error_response
from server.http.origins import LOCAL_ORIGIN, AllowedOrigins


class Preflights(CORSMiddleware):
    """Lets pages of `origins` call every route, with any method and header."""

    def __init__(self, app: ASGIApp, origins: AllowedOrigins) -> None:
        super().__init__(
            app,
            allow_origins=origins.plain,
            allow_origin_regex=LOCAL_ORIGIN.pattern if origins.has_local else None,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=["X-Request-Id", "X-Corral-Prefix", "Retry-After"],
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a preflight; an origin or a method that isn't allowed is an error."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        refusal = error_response(refusals.refused_preflight(bytes(response.body).decode()))
        refusal.headers["Vary"] = response.headers["Vary"]
        return refusal
