"""`GET /health`: this process is alive. `GET /ready`: the models it was started with can answer."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.http import refusals
from server.http.dependencies import api_of
from server.http.error_response import error_response
from server.supervisor.protocol import ModelStatus

router = APIRouter(tags=["Health"])


@router.get("/health")
async def health(request: Request) -> Response:
    """Alive; says nothing about models, unless the server follows llama-server: then it is as `/ready`."""
    return await ready(request) if api_of(request).is_native else JSONResponse({"status": "ok"})


@router.get("/ready")
async def ready(request: Request) -> Response:
    """200 once every model to be served from the start is loaded; 503 with the reason until then.

    And 503 again from the moment when the server was asked to stop, though it may still serve for a while.
    """
    api = api_of(request)
    service = api.service
    if api.drain.has_begun:
        return error_response(refusals.stopping())
    if service.ready():
        return JSONResponse({"status": "ready"})
    return error_response(refusals.loading(service.impediment() or _waiting_for(service.models())))


def _waiting_for(models: list[ModelStatus]) -> str:
    """Return the reason to wait, such as "Loading model demo (42%)"."""
    for model in models:
        if model.problem is not None:
            return f"Model {model.name} can't be served: {model.problem}"
    for model in models:
        if model.state in ("loading", "restarting"):
            progress = "" if model.progress is None else f" ({model.progress:.0%})"
            return f"Loading model {model.name}{progress}"
    return "Loading models"
