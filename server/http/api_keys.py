"""`ApiKeys`: the ASGI middleware that requires an API key, used only where keys are set."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.openai import errors

OPEN_PATHS = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
"""These paths need no key: liveness for monitors, and pages for browsers, which hold nothing secret."""


class ApiKeys:
    """Lets a request pass with one of `keys`, as `Authorization: Bearer KEY` or `X-Api-Key: KEY`.

    Keys are compared as hashes, each in constant time, so neither their content nor their length shows.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        given = _given(scope)
        if given is not None and self._is_known(given):
            await self._app(scope, receive, send)
            return
        error = errors.missing_key() if given is None else errors.wrong_key()
        headers = {"WWW-Authenticate": "Bearer"}
        await Response(error.json(), error.status, headers, "application/json")(scope, receive, send)

    def _is_known(self, given: bytes) -> bool:
        digest = _digest(given)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


def _given(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return bytes(value)
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return bytes(value[7:].strip())
    return None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
