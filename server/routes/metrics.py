"""`GET /metrics`: what Prometheus reads."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.http import refusals
from server.http.cased_names import raw_headers
from server.http.dependencies import api_of
from server.http.error_response import error_response
from server.metrics.exposition import expose

router = APIRouter(tags=["Metrics"])

STARTED = int(time.time())
"""The time at which this process began, about."""
WORKER_WAIT_S = 0.5
"""A worker that doesn't answer for so many seconds is shown with its earlier figures."""


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """The server's figures, by model, type and arm, in Prometheus' text format or OpenMetrics'."""
    api = api_of(request)
    if not api.config.metrics:
        return error_response(refusals.metrics_are_off())
    service, native = api.service, api.config.dialect == "llama-server"
    samples = await service.samples(WORKER_WAIT_S)
    body, content_type = expose(service.figures, samples, request.headers.get("accept", ""), native=native)
    answer = Response(body, headers={"Content-Type": content_type})
    answer.raw_headers += raw_headers({"Process-Start-Time-Unix": str(STARTED)})
    return answer
