"""`/admin/models`: the models' lives: which are loaded, what they take, load, unload, pin."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from models.errors import RequestError
from server.http.access_log import record_of
from server.http.dependencies import api_of
from server.openai.requests.field_types import KeepAlive
from server.supervisor.lives import ModelLife, ModelLives

router = APIRouter(tags=["Admin"])

_CONFIG = ConfigDict(strict=True, extra="forbid", frozen=True)
Schema = TypeVar("Schema", bound=BaseModel)


class LoadOptions(BaseModel):
    """The body of `POST /admin/models/{model}/load`, which may be left out."""

    model_config = _CONFIG

    keep_alive: KeepAlive = None
    pin: bool = False
    wait: Annotated[bool, Field(description="False: answer at once, and load meanwhile.")] = True


class UnloadOptions(BaseModel):
    """The body of `POST /admin/models/{model}/unload`, which may be left out."""

    model_config = _CONFIG

    force: Annotated[bool, Field(description="End what runs in it; else it may finish first.")] = False


def _body(schema: type[BaseModel]) -> dict[str, Any]:
    """Return a route's `openapi_extra`."""
    content = {"application/json": {"schema": schema.model_json_schema()}}
    return {"requestBody": {"required": False, "content": content}}


@router.get("/admin/models")
async def list_lives(request: Request) -> dict[str, Any]:
    """Every file that can be served: state, measured memory, requests, idle time, and when it is unloaded."""
    lives = await _lives(request).list()
    return {"object": "list", "data": [msgspec.to_builtins(life) for life in lives]}


@router.get("/admin/models/{model:path}")
async def retrieve_life(request: Request, model: str) -> dict[str, Any]:
    """One of them."""
    model = _served(request, model)
    return _object(await _lives(request).get(model))


@router.post("/admin/models/{model:path}/load", openapi_extra=_body(LoadOptions))
async def load_model(request: Request, model: str) -> dict[str, Any]:
    """Load a model; answers once it is ready. Others may be unloaded for it, as for a request."""
    lives, options = _lives(request), await _options(request, LoadOptions)
    model = _served(request, model)
    if options.wait:
        return _object(await lives.load(model, options.keep_alive, pin=options.pin))
    if options.keep_alive is not None:
        raise RequestError("'keep_alive' needs a load that is waited for; leave 'wait' out", param="wait")
    if options.pin:
        await lives.pin(model, pinned=True)
    lives.begin_load(model)
    return _object(await lives.get(model))


@router.post("/admin/models/{model:path}/unload", openapi_extra=_body(UnloadOptions))
async def unload_model(request: Request, model: str) -> dict[str, Any]:
    """Unload a model; answers once its memory is free. A request that comes later loads it again."""
    lives, options = _lives(request), await _options(request, UnloadOptions)
    model = _served(request, model)
    return _object(await lives.unload(model, force=options.force))


@router.post("/admin/models/{model:path}/pin")
async def pin_model(request: Request, model: str) -> dict[str, Any]:
    """Keep a model loaded once it is: neither its idle time nor another model's need unloads it."""
    model = _served(request, model)
    return _object(await _lives(request).pin(model, pinned=True))


@router.post("/admin/models/{model:path}/unpin")
async def unpin_model(request: Request, model: str) -> dict[str, Any]:
    """Let a model be unloaded again."""
    model = _served(request, model)
    return _object(await _lives(request).pin(model, pinned=False))


def _served(request: Request, model: str) -> str:
    """Return the name of the model that is meant: a preset's is the one that serves most of its requests."""
    record_of(request.scope).model = model
    return api_of(request).presets.model_of(model)


def _object(life: ModelLife) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(life)
    return made


async def _options(request: Request, schema: type[Schema]) -> Schema:
    """Return the body's options, all left out for an empty body."""
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return schema()
    return await api_of(request).read_small(request, schema)


def _lives(request: Request) -> ModelLives:
    lives = api_of(request).lives
    if lives is None:
        raise RequestError("this server doesn't manage its models", code="unsupported")
    return lives
