"""`/version`, `/server_info`, `/model_info`, `/v1/loads`: what routers ask each of several servers."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from models.version import VERSION
from server.http import refusals
from server.http.dependencies import Api, api_of
from server.http.error_response import error_response
from server.metrics.loads import load_of
from server.routes.metrics import WORKER_WAIT_S
from server.supervisor.protocol import ModelStatus

router = APIRouter(tags=["Routers"])


@router.get("/version")
async def version(_request: Request) -> dict[str, str]:
    """The server's version, as vLLM's servers tell theirs."""
    return {"version": VERSION}


@router.get("/server_info")
@router.get("/get_server_info", include_in_schema=False)
async def server_info(request: Request) -> dict[str, Any]:
    """The server, and the model of requests that name none, as SGLang's servers tell it."""
    api = api_of(request)
    models = api.usable(request, api.service.models())
    served = [status for status in models if status.served] or models[:1]
    loaded = [status.info for status in models if status.info is not None]
    facts: dict[str, Any] = {
        "server": "corral",
        "version": VERSION,
        "models": [status.name for status in models],
        "max_running_requests": sum(info.n_parallel for info in loaded),
        "tp_size": 1,
        "dp_size": 1,
    }
    return facts | (_identity(served[0]) if served else {})


@router.get("/model_info")
@router.get("/get_model_info", include_in_schema=False)
async def model_info(request: Request, model: str | None = None) -> dict[str, Any]:
    """A model, by default that of requests that name none. Loads nothing."""
    api = api_of(request)
    status = api.service.find(api.resolve(request, model))
    return {
        **_identity(status),
        "is_generation": _generates(status),
        "max_model_len": status.n_ctx,
        "quantization": status.type,
        "has_image_understanding": status.sees_images,
    }


@router.get("/v1/loads")
@router.get("/loads", include_in_schema=False)
async def loads(request: Request) -> Response:
    """The work of each loaded model: requests that run and wait, free slots, and the KV cache."""
    api: Api = api_of(request)
    if not api.config.metrics:
        return error_response(refusals.metrics_are_off())
    samples = await api.service.samples(WORKER_WAIT_S)
    slots = {
        (status.name.removesuffix(f":{status.type}"), status.type): status.info.n_parallel
        for status in api.service.models()
        if status.info is not None
    }
    entries = [
        load_of(each, slots.get((each.model, each.type))) for each in samples if each.stats is not None
    ]
    return JSONResponse({"timestamp": time.time(), "version": VERSION, "loads": entries})


def _identity(status: ModelStatus) -> dict[str, Any]:
    return {"model_path": status.name, "served_model_name": status.name}


def _generates(status: ModelStatus) -> bool | None:
    """Return True for a model that writes texts; None while that isn't known."""
    if status.info is not None:
        return status.info.pooling is None
    return None if status.kind is None else status.kind == "text"
