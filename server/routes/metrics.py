"""`GET /metrics`: what Prometheus reads."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.http.dependencies import api_of
from server.metrics.exposition import expose

router = APIRouter(tags=["Metrics"])

WORKER_WAIT_S = 0.5
"""A worker that doesn't answer for so many seconds is shown with its earlier figures."""


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """The server's figures, by model, type and arm, in Prometheus' text format or OpenMetrics'."""
    service = api_of(request).service
    samples = await service.samples(WORKER_WAIT_S)
    body, content_type = expose(service.figures, samples, request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})
