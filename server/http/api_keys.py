"""`ApiKeys`: the ASGI middleware that requires an API key, used only where keys are set."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from server.http.error_response import error_response
from server.openai import errors

_OWNER = "corral.owner"
OPEN_PATHS = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
"""These paths need no key: liveness for monitors, and pages for browsers, which hold nothing secret."""
_OPEN_FOLDER = "/web/assets/"
"""Whatever the pages are made of, which needs no key either."""


class ApiKeys:
    """Lets a request pass with one of `keys`, as `Authorization: Bearer KEY`, or in `X-Api-Key` or `Api-Key`.

    Programs often send several of these headers, some with a placeholder: any right key is enough. Keys are
    compared as hashes, all with all and each in constant time, so neither their content nor length shows.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        given = _given(scope)
        owner = self._known(given) if _OWNER not in scope else self._still_known(scope[_OWNER])
        if owner is not None:
            scope[_OWNER] = owner
            await self._app(scope, receive, send)
            return
        error = errors.wrong_key() if given else errors.missing_key()
        await error_response(error, {"WWW-Authenticate": "Bearer"})(scope, receive, send)

    def _known(self, given: Sequence[bytes]) -> str | None:
        """Return the owner of the first right key; None: there is none."""
        digests = [_digest(key) for key in given]
        matches = [
            known for digest in digests for known in self._digests if hmac.compare_digest(digest, known)
        ]
        return _owner(matches[0]) if matches else None

    def _still_known(self, owner: str) -> str | None:
        """Return the owner if its key is still good: the server's own requests come without the key."""
        return owner if any(_owner(known) == owner for known in self._digests) else None


def owner_of(scope: Scope) -> str:
    """Return a name for whoever has sent a request: the same for the same API key, and telling nothing of it.

    Without API keys all clients are one.
    """
    owner: str = scope.get(_OWNER, "")
    return owner


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(_OPEN_FOLDER)


def own_scope(owner: str) -> dict[str, str]:
    """Return the part of a scope with which the server itself sends a request on behalf of an owner."""
    return {_OWNER: owner}


def _owner(digest: bytes) -> str:
    return _digest(digest).hex()[:32]


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
