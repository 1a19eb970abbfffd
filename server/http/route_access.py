"""`RouteAccess`: the right that a request needs, by the application's own routes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from starlette.routing import Route

from server.http.route_scopes import ROUTE_SCOPES, RouteScope

_UNLISTED: RouteScope = "admin"
"""A route without a line in the table asks for this: nobody gets in by an oversight."""


class RouteAccess:
    """The rights of all routes, which are tried in the application's order, as the router does."""

    def __init__(
        self, routes: Iterable[Route], more: Mapping[str, RouteScope] = MappingProxyType({})
    ) -> None:
        """`more` has the rights of routes that the settings add, by `METHOD PATH`."""
        self._routes = [_Guarded(route, more) for route in routes]
        self._with_parameters = [route for route in self._routes if route.has_parameters]
        self._fixed = {route.path for route in self._routes if not route.has_parameters}

    def scope_of(self, method: str, path: str) -> RouteScope | None:
        """Return the right that a request needs; None: there is no such route, so any key sees that.

        HEAD needs what GET does. A method that a path hasn't needs no key where none of the path's needs one.
        """
        method = "GET" if method == "HEAD" else method
        matching = [
            route
            for route in (self._routes if path in self._fixed else self._with_parameters)
            if route.pattern.match(path)
        ]
        for route in matching:
            if method in route.scopes:
                return route.scopes[method]
        if matching and all(scope == "open" for route in matching for scope in route.scopes.values()):
            return "open"
        return None


class _Guarded:
    """A route with the right that each of its methods asks for."""

    def __init__(self, route: Route, more: Mapping[str, RouteScope]) -> None:
        self.path = route.path
        self.has_parameters = "{" in route.path
        self.pattern: re.Pattern[str] = route.path_regex
        plain = route.path.removeprefix("/v1")
        self.scopes: dict[str, RouteScope] = {
            method: more.get(f"{method} {route.path}") or ROUTE_SCOPES.get(f"{method} {plain}", _UNLISTED)
            for method in (route.methods or set()) - {"HEAD", "OPTIONS"}
        }
