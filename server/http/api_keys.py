"""`ApiKeys`: the ASGI middleware that requires an API key, used only where keys are set."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from server.http.error_response import error_response
from server.openai import errors

OPEN_PATHS = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
"""These paths need no key: liveness for monitors, and pages for browsers, which hold nothing secret."""


class ApiKeys:
    """Lets a request pass with one of `keys`, as `Authorization: Bearer KEY`, or in `X-Api-Key` or `Api-Key`.

    Programs often send several of these headers, some with a placeholder: any right key is enough. Keys are
    compared as hashes, all with all and each in constant time, so neither their content nor length shows.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        given = _given(scope)
        if self._has_known(given):
            await self._app(scope, receive, send)
            return
        error = errors.wrong_key() if given else errors.missing_key()
        await error_response(error, {"WWW-Authenticate": "Bearer"})(scope, receive, send)

    def _has_known(self, given: Sequence[bytes]) -> bool:
        digests = [_digest(key) for key in given]
        matches = [hmac.compare_digest(digest, known) for digest in digests for known in self._digests]
        return any(matches)


def _given(scope: Scope) -> list[bytes]:
    """Return what the request has in the place of keys; empty values are none."""
    given = []
    for name, value in scope["headers"]:
        if name in (b"x-api-key", b"api-key"):
            given.append(value.strip())
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            given.append(value[7:].strip())
    return [key for key in given if key]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
