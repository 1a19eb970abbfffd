"""`DirectRoutes`: requests of fixed paths go to their endpoints without a search.

FastAPI tries one route after another, and each of them twice: with the hundred and more that there are this
takes longer than all else that is done for a short answer. A route whose path has no parameters, and whose
endpoint takes the request and returns the response, needs nothing of that but to be found.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from inspect import iscoroutinefunction
from typing import get_type_hints

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]

_TRACED = "fastapi.telemetry"
"""A scope has this where FastAPI makes a span of the request, which gets the name of the route found."""


class DirectRoutes:
    """Answers requests of such routes; `app`, FastAPI's own router, has all others."""

    def __init__(self, app: ASGIApp, routes: Iterable[Route]) -> None:
        """`routes` are those of `app`, in its order."""
        self._app = app
        self._endpoints = direct_endpoints(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoint(scope) if scope["type"] == "http" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    def _endpoint(self, scope: Scope) -> Endpoint | None:
        if _TRACED in scope or scope.get("root_path"):
            return None
        return self._endpoints.get((scope["method"], scope["path"]))


def direct_endpoints(routes: Iterable[Route]) -> dict[tuple[str, str], Endpoint]:
    """Return the endpoints that need no search, by method and path.

    A path that an earlier route has, too, by its parameters, is that one's.
    """
    found: dict[tuple[str, str], Endpoint | None] = {}
    with_parameters: list[Route] = []
    for route in routes:
        if route.param_convertors:
            with_parameters.append(route)
            continue
        is_plain = _is_plain(route)
        for method in route.methods or ():
            is_direct = is_plain and not any(
                method in (other.methods or ()) and other.path_regex.match(route.path)
                for other in with_parameters
            )
            found.setdefault((method, route.path), route.endpoint if is_direct else None)
    return {key: endpoint for key, endpoint in found.items() if endpoint is not None}


def _is_plain(route: Route) -> bool:
    """Return True if FastAPI does nothing for a route's endpoint but to call it with the request."""
    if not isinstance(route, APIRoute) or route.dependencies or route.status_code is not None:
        return False
    takes = route.dependant
    takes_more = (
        takes.path_params
        or takes.query_params
        or takes.header_params
        or takes.cookie_params
        or takes.body_params
        or takes.dependencies
        or takes.http_connection_param_name
        or takes.response_param_name
        or takes.background_tasks_param_name
        or takes.security_scopes_param_name
    )
    return not takes_more and takes.request_param_name is not None and _makes_response(route.endpoint)


@cache
def _makes_response(endpoint: Callable[..., object]) -> bool:
    """Return True if an endpoint is a coroutine whose annotation says that it returns a response."""
    returns = get_type_hints(endpoint).get("return")
    return iscoroutinefunction(endpoint) and isinstance(returns, type) and issubclass(returns, Response)
