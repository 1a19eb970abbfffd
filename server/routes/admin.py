"""`/admin/adapters`: LoRA adapters at run time; `/lora-adapters`: llama-server's defaults of them.

A key sees the adapters of its models. Paths are the server's own, never addresses.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, RootModel
from starlette.requests import Request

from models.adapter_reference import MAX_SCALE
from models.errors import RequestError
from server.http.api_keys import caller_of, check_model
from server.http.dependencies import api_of
from server.supervisor.adapters.registry import RegisteredAdapter
from server.supervisor.adapters.service import AdapterService

router = APIRouter(tags=["Admin"])

Scale = Annotated[float, Field(ge=-MAX_SCALE, le=MAX_SCALE, allow_inf_nan=False)]


class NewAdapter(BaseModel):
    """The body of `POST /admin/adapters`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    model: str | None = Field(default=None, max_length=512)
    name: str | None = Field(default=None, max_length=64)
    scale: Scale = 0.0


class DefaultScale(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    id: Annotated[int, Field(ge=0)]
    scale: Scale


class DefaultScales(RootModel[list[DefaultScale]]):
    """The body of `POST /lora-adapters`."""


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a route's `openapi_extra`."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.get("/admin/adapters")
async def list_adapters(request: Request, model: str | None = None) -> dict[str, Any]:
    """The LoRA adapters that are loaded, of all models or one."""
    caller = caller_of(request.scope)
    found = [adapter for adapter in _adapters(request).list(model) if caller.may_use(adapter.model)]
    return {"object": "list", "data": [adapter_object(adapter) for adapter in found]}


@router.post("/admin/adapters", openapi_extra=_body(NewAdapter.model_json_schema()))
async def load_adapter(request: Request) -> dict[str, Any]:
    """Load a GGUF adapter, or a PEFT adapter's folder, which is converted first.

    `scale` is what requests that choose nothing get; without it only those that name the adapter do.
    """
    api, adapters = api_of(request), _adapters(request)
    body = await api.read_small(request, NewAdapter)
    model = api.presets.model_of(api.resolve(request, body.model))
    return adapter_object(await adapters.add(model, body.path, body.name, body.scale))


@router.get("/admin/adapters/{adapter_id}")
async def retrieve_adapter(request: Request, adapter_id: int) -> dict[str, Any]:
    """One LoRA adapter."""
    return adapter_object(_usable(request, adapter_id))


@router.delete("/admin/adapters/{adapter_id}")
async def unload_adapter(request: Request, adapter_id: int) -> dict[str, Any]:
    """Refuse the adapter to new requests, and answer once those that use it have ended and it is freed."""
    removed = await _adapters(request).remove(_usable(request, adapter_id).id)
    return {"id": removed.id, "object": "adapter", "deleted": True}


@router.get("/lora-adapters")
async def default_scales(request: Request, model: str | None = None) -> list[dict[str, Any]]:
    """llama-server's list: what each adapter of the model is applied with unless a request says otherwise."""
    api = api_of(request)
    name = api.presets.model_of(api.resolve(request, model))
    return [
        {"id": adapter.id, "name": adapter.name, "path": str(adapter.path), "scale": adapter.scale}
        for adapter in _adapters(request).list(name)
    ]


_SCALES = {"type": "array", "items": DefaultScale.model_json_schema()}


@router.post("/lora-adapters", openapi_extra=_body(_SCALES))
async def set_default_scales(request: Request, model: str | None = None) -> dict[str, bool]:
    """New default scales, as `[{"id": 0, "scale": 0.5}]`; adapters that aren't named are off."""
    api, adapters = api_of(request), _adapters(request)
    body = await api.read_small(request, DefaultScales)
    name = api.presets.model_of(api.resolve(request, model))
    adapters.set_scales(name, {adapter.id: adapter.scale for adapter in body.root})
    return {"success": True}


def adapter_object(adapter: RegisteredAdapter) -> dict[str, Any]:
    """Return our object of an adapter."""
    return {
        "id": adapter.id,
        "object": "adapter",
        "created": adapter.created,
        "name": adapter.name,
        "model": adapter.model,
        "path": str(adapter.path),
        "scale": adapter.scale,
        "alpha": adapter.alpha,
        "rank": adapter.rank,
        "size_bytes": adapter.size_bytes,
    }


def _usable(request: Request, adapter_id: int) -> RegisteredAdapter:
    """Return an adapter. Raises AdapterNotFound, and NotAllowed if the caller may not use its model."""
    adapter = _adapters(request).get(adapter_id)
    check_model(caller_of(request.scope), adapter.model)
    return adapter


def _adapters(request: Request) -> AdapterService:
    adapters = api_of(request).adapters
    if adapters is None:
        raise RequestError("this server takes no LoRA adapters", code="unsupported")
    return adapters
