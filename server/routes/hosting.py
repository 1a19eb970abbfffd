"""`GET /ping` and `POST /invocations`: what the clouds' model hosting asks of a container."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from server.config import ServerConfig
from server.http.dependencies import api_of
from server.http.hosted import answer_hosted
from server.http.route_scopes import RouteScope
from server.routes import health

router = APIRouter(tags=["Hosting"])


@router.get("/ping")
async def ping(request: Request) -> Response:
    """SageMaker's name of `/ready`."""
    return await health.ready(request)


@router.post("/invocations")
async def invoke(request: Request) -> Response:
    """Answer a body by its shape, as the route of that shape does, or the `instances` in it (Vertex AI)."""
    return await answer_hosted(api_of(request), request)


def host_routes(config: ServerConfig) -> Iterator[tuple[APIRoute, RouteScope]]:
    """Yield the routes that the host has named, and the right that each asks for."""
    if config.health_route is not None:
        yield APIRoute(config.health_route, ping, methods=["GET"], include_in_schema=False), "open"
    if config.predict_route is not None:
        yield APIRoute(config.predict_route, invoke, methods=["POST"], include_in_schema=False), "by_body"
