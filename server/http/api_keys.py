"""`ApiKeys`: the ASGI middleware that finds out who calls, and what of it the caller may have.

Where the server asks for keys, a request brings one as `Authorization: Bearer KEY`, or in `X-Api-Key` or
`Api-Key`. Programs often send several of these headers, some with a placeholder: any right key is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import NotAllowed, RateLimited
from server.http import refusals
from server.http.error_response import error_response, is_anthropic
from server.http.rate_headers import rate_headers
from server.http.route_access import RouteAccess
from server.keys.caller import ALL_SCOPES, ANYONE, Caller, KeyScope, acting_for
from server.keys.key_ring import ExpiredKey, KeyRing
from server.keys.limits import Allowance, RateLimits
from server.keys.times import shown_time
from server.openai import errors
from server.openai.errors import ApiError

_CALLER = "corral.caller"
_BACKGROUND_OWNER = "corral.background_owner"


class ApiKeys:
    """Lets a request pass with a key that has the right to its route, and lets the rest know its caller."""

    def __init__(self, app: ASGIApp, keys: KeyRing, routes: RouteAccess, limits: RateLimits) -> None:
        self._app = app
        self._keys = keys
        self._routes = routes
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = self._caller(scope)
        if isinstance(caller, ApiError):
            await error_response(caller, _challenge(caller))(scope, receive, send)
            return
        scope[_CALLER] = caller
        allowance, is_background = self._limits.of(caller), _BACKGROUND_OWNER in scope
        if allowance is not None:
            send = _telling(allowance, scope, send)
            try:
                allowance.take_request(is_background=is_background)
            except RateLimited as error:
                await error_response(errors.from_error(error))(scope, receive, send)
                return
        with acting_for(caller, is_background=is_background):
            await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller | ApiError:
        """Return whoever calls, or the error of a request that isn't served."""
        background_owner: str | None = scope.get(_BACKGROUND_OWNER)
        if not self._keys.asks_for_keys():
            return ANYONE if background_owner is None else replace(ANYONE, owner=background_owner)
        wanted = self._routes.scope_of(scope["method"], scope["path"])
        if wanted == "open":
            return _STRANGER
        caller = self._with_key(scope) if background_owner is None else self._by_owner(background_owner)
        if isinstance(caller, Caller) and wanted is not None and wanted != "by_body":
            return _without_right(caller, wanted) or caller
        return caller

    def _with_key(self, scope: Scope) -> Caller | ApiError:
        given = _given(scope)
        if not given:
            return refusals.missing_key()
        try:
            caller = self._keys.caller_of(given)
        except ExpiredKey as expired:
            return refusals.expired_key(expired.name, shown_time(expired.expired))
        if caller is None:
            return refusals.wrong_key()
        return caller

    def _by_owner(self, owner: str) -> Caller | ApiError:
        """Return whoever the server itself does something for: its requests come without the key."""
        caller = self._keys.caller_by_owner(owner)
        return refusals.key_gone() if caller is None else caller


_STRANGER = Caller(scopes=frozenset(), models=())
"""Whoever calls an open route of a server that asks for keys elsewhere."""


def caller_of(scope: Scope) -> Caller:
    """Return whoever has sent a request. Where no keys are asked for, all clients are one."""
    caller = scope.get(_CALLER, ANYONE)
    assert isinstance(caller, Caller)
    return caller


def owner_of(scope: Scope) -> str:
    """Return a name for whoever has sent a request: the same for the same key, and telling nothing of it."""
    return caller_of(scope).owner


def scope_refusal(scope: Scope, wanted: KeyScope) -> Response | None:
    """Return the answer to a request whose body asks for a right that the caller hasn't; None: it has it."""
    error = _without_right(caller_of(scope), wanted)
    return None if error is None else error_response(error, _challenge(error))


def _without_right(caller: Caller, wanted: KeyScope) -> ApiError | None:
    if wanted in caller.scopes:
        return None
    scopes = [each for each in ALL_SCOPES if each in caller.scopes]
    return refusals.insufficient_scope(caller.name, wanted, scopes)


def check_model(caller: Caller, *names: str) -> None:
    """Raise NotAllowed if the caller may use no model with any of these names."""
    if not caller.may_use(*names):
        raise NotAllowed(
            f"The API key {caller.name} may not use the model `{names[0]}`; it may use "
            f"{', '.join(caller.models)}",
            param="model",
            code="model_not_allowed",
        )


def in_background(owner: str) -> dict[str, str]:
    """Return the part of a scope with which the server itself sends a request for an owner, who doesn't wait.

    Its key must still be good. It waits until the key's limits leave room, see `Call.is_background`.
    """
    return {_BACKGROUND_OWNER: owner}


def _telling(allowance: Allowance, scope: Scope, send: Send) -> Send:
    """Return a `send` that begins each answer with what the key has left."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            left = rate_headers(allowance, anthropic=is_anthropic(scope["path"], scope["headers"]))
            message = {**message, "headers": [*message.get("headers", ()), *left]}
        await send(message)

    return send_with_headers


def _challenge(error: ApiError) -> dict[str, str]:
    """Return the header that tells how to be let in, as RFC 6750 has it."""
    if error.status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}


def _given(scope: Scope) -> Sequence[bytes]:
    """Return what the request has in the place of keys; empty values are none."""
    given = []
    for name, value in scope["headers"]:
        if name in (b"x-api-key", b"api-key"):
            given.append(value.strip())
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            given.append(value[7:].strip())
    return [key for key in given if key]
