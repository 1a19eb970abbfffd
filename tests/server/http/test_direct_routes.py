from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from server.app import application_routes, create_app
from server.config import ServerConfig
from server.http.direct_routes import DirectRoutes, direct_endpoints
from tests.server.http_client import client_for, error_of
from tests.server.scripted_service import ScriptedService


async def plain(request: Request) -> Response:
    return PlainTextResponse(request.url.path)


async def other(request: Request) -> Response:
    return PlainTextResponse(request.url.path, 201)


def routes_of(*added: tuple[str, Any, list[str]], **options: Any) -> list[Route]:
    router = APIRouter()
    for path, endpoint, methods in added:
        router.add_api_route(path, endpoint, methods=methods, **options)
    return [route for route in router.routes if isinstance(route, Route)]


def test_an_endpoint_is_the_one_that_the_router_finds() -> None:
    routes = list(application_routes(create_app(ServerConfig(), ScriptedService())))
    found = direct_endpoints(routes)
    for wanted in ("/v1/embeddings", "/v1/chat/completions", "/completion", "/v1/rerank", "/api/chat"):
        assert ("POST", wanted) in found
    assert ("GET", "/health") in found
    for (method, path), endpoint in found.items():
        scope = {"type": "http", "method": method, "path": path, "root_path": ""}
        first = next(route for route in routes if route.matches(scope)[0] is Match.FULL)
        assert first.endpoint is endpoint, (method, path)


def test_of_two_the_first_counts() -> None:
    routes = routes_of(
        ("/a/{name}", plain, ["GET"]), ("/a/b", other, ["GET", "POST"]), ("/c", plain, ["GET"]),
        ("/c", other, ["GET"]),
    )  # fmt: skip
    assert direct_endpoints(routes) == {("POST", "/a/b"): other, ("GET", "/c"): plain}


async def with_query(request: Request, limit: int = 3) -> Response:
    return PlainTextResponse(f"{request.url.path} {limit}")


async def with_dependency(request: Request, given: str = Depends(lambda: "x")) -> Response:
    return PlainTextResponse(f"{request.url.path} {given}")


async def with_response(request: Request, response: Response) -> Response:
    return PlainTextResponse(f"{request.url.path} {response.status_code}")


async def with_model(request: Request) -> dict[str, str]:
    return {"path": request.url.path}


async def without_request() -> Response:
    return PlainTextResponse("")


def in_a_thread(request: Request) -> Response:
    return PlainTextResponse(request.url.path)


@pytest.mark.parametrize(
    "endpoint", [with_query, with_dependency, with_response, with_model, without_request, in_a_thread]
)
def test_what_fastapi_has_work_with_is_left_to_it(endpoint: Any) -> None:
    assert direct_endpoints(routes_of(("/a", endpoint, ["GET"]))) == {}


def test_so_are_routes_with_a_status_or_dependencies() -> None:
    assert direct_endpoints(routes_of(("/a", plain, ["POST"]), status_code=201)) == {}
    assert direct_endpoints(routes_of(("/a", plain, ["POST"]), dependencies=[Depends(lambda: 1)])) == {}


async def test_a_direct_request_never_meets_the_router() -> None:
    async def router(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("searched", 404)(scope, receive, send)

    app = DirectRoutes(router, routes_of(("/a", plain, ["GET"])))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
        assert (await client.get("/a")).text == "/a"
        assert (await client.get("/a/")).text == "searched"
        assert (await client.post("/a")).text == "searched"
    below = httpx.ASGITransport(app, root_path="/below")
    async with httpx.AsyncClient(transport=below, base_url="http://local") as client:
        assert (await client.get("/a")).text == "searched"


async def test_a_span_has_the_name_of_its_route() -> None:
    seen: list[Scope] = []

    async def router(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await PlainTextResponse("")(scope, receive, send)

    traced = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
    traced.router.middleware_stack = DirectRoutes(router, routes_of(("/a", plain, ["GET"])))

    async def with_span(scope: Scope, receive: Receive, send: Send) -> None:
        await traced({**scope, "fastapi.telemetry": object()}, receive, send)

    transport = httpx.ASGITransport(with_span)
    async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
        await client.get("/a")
    assert [scope["path"] for scope in seen] == ["/a"]


async def test_errors_and_methods_are_as_on_all_routes() -> None:
    async with client_for() as client:
        bad = await client.post("/v1/embeddings", content=b"{")
        assert (bad.status_code, error_of(bad)["code"]) == (400, "invalid_json")
        assert bad.headers["x-request-id"]
        wrong = await client.get("/v1/embeddings")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "OPTIONS, POST")
        assert (await client.options("/v1/embeddings")).status_code == 204
        head = await client.head("/health")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "15")
        assert (await client.get("/healthy")).status_code == 404
