"""`/v2`: the Open Inference Protocol, as KServe and Triton have it, with Triton's `generate`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from models.errors import WorkerError
from models.version import VERSION
from server.hosting.tensors import model_metadata
from server.http.access_log import record_of
from server.http.dependencies import api_of
from server.http.inference_protocol import answer_texts
from server.routes import health
from server.supervisor.protocol import ModelStatus

router = APIRouter(tags=["Open Inference Protocol"])

_VERSIONS = "/versions/"
"""Between a model's name and its version, which is a quantization type."""


@router.get("/v2")
async def server_metadata(_request: Request) -> dict[str, Any]:
    """The server's name and version, and what it can do beyond the protocol."""
    return {"name": "corral", "version": VERSION, "extensions": ["generate"]}


@router.get("/v2/health/live")
async def live(_request: Request) -> dict[str, bool]:
    """Alive; says nothing about models."""
    return {"live": True}


@router.get("/v2/health/ready")
async def ready(request: Request) -> Response:
    """200 or 503, as `/ready`."""
    answer = await health.ready(request)
    return JSONResponse({"ready": True}) if answer.status_code == 200 else answer


# Names contain slashes: those with something behind the name stand above that without.
@router.get("/v2/models/{model:path}/ready")
async def model_ready(request: Request, model: str) -> dict[str, Any]:
    """200 if the model is loaded; 503 if it isn't, though a request would load it."""
    status = _find(request, model)
    if status.state != "ready":
        raise WorkerError(f"the model {status.name} isn't loaded ({status.state}); a request loads it")
    return {"name": _name(model), "ready": True}


@router.post("/v2/models/{model:path}/infer")
async def infer(request: Request, model: str) -> Response:
    """A tensor of texts (BYTES) for a tensor of texts; parameters are those of completions."""
    return await answer_texts(api_of(request), request, "infer_tensors", _name(model))


@router.post("/v2/models/{model:path}/generate")
async def generate(request: Request, model: str) -> Response:
    """Go on with a `text_input`."""
    return await answer_texts(api_of(request), request, "generate_text", _name(model))


@router.post("/v2/models/{model:path}/generate_stream")
async def generate_stream(request: Request, model: str) -> Response:
    """Go on with a `text_input`, as a stream of server-sent events."""
    return await answer_texts(api_of(request), request, "generate_text", _name(model), streamed=True)


@router.get("/v2/models/{model:path}")
async def metadata(request: Request, model: str) -> dict[str, Any]:
    """The tensors of a model, and its versions: quantization types."""
    return model_metadata(_name(model), _find(request, model).type)


def _find(request: Request, model: str) -> ModelStatus:
    name = record_of(request.scope).model = _name(model)
    return api_of(request).find(request, name)


def _name(model: str) -> str:
    """Return the model's name with its version as a type: `demo/versions/Q8_0` is `demo:Q8_0`."""
    name, versions, version = model.rpartition(_VERSIONS)
    return f"{name}:{version}" if versions else model
