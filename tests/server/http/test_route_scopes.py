"""Every route of the application has a scope, and every scope's line a route."""

from __future__ import annotations

from server.app import application_routes, create_app
from server.config import ServerConfig
from server.http.route_scopes import ROUTE_SCOPES, route_scope
from tests.server.scripted_service import ScriptedService


def routes() -> set[tuple[str, str]]:
    found = application_routes(create_app(ServerConfig(), ScriptedService()))
    return {
        (method, route.path) for route in found for method in (route.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_every_route_has_a_scope() -> None:
    missing = [f"{method} {path}" for method, path in routes() if _line(method, path) not in ROUTE_SCOPES]
    assert missing == []
    assert route_scope("POST", "/v1/chat/completions") == "infer"


def test_every_line_has_a_route() -> None:
    there = {_line(method, path) for method, path in routes()}
    assert sorted(set(ROUTE_SCOPES) - there) == []


def _line(method: str, path: str) -> str:
    return f"{method} {path.removeprefix('/v1')}"
