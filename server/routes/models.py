"""`GET /v1/models` and `GET /v1/models/{id}`; ids contain slashes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from models.errors import ModelNotFound
from server.anthropic import models as anthropic_models
from server.http.access_log import record_of
from server.http.api_keys import caller_of
from server.http.dependencies import Api, api_of
from server.http.error_response import is_anthropic
from server.supervisor.protocol import ModelStatus

router = APIRouter(tags=["OpenAI"])


@router.get("/v1/models")
@router.get("/v1/models/", include_in_schema=False)
@router.get("/models", include_in_schema=False)
async def list_models(
    request: Request,
    limit: int = anthropic_models.DEFAULT_LIMIT,
    after_id: str | None = None,
    before_id: str | None = None,
) -> dict[str, Any]:
    """Every model that the caller may name, loaded or not, each with each of its LoRA adapters, and presets.

    A request with the header `anthropic-version` gets pages in Anthropic's form; the parameters are theirs.
    """
    api = api_of(request)
    statuses = api.service.models()
    if api.adapters is not None:
        statuses += [api.service.find(adapter.full_name) for adapter in api.adapters.list()]
    statuses = api.usable(request, statuses + _presets(api))
    if _is_anthropic(request):
        return anthropic_models.page(statuses, limit=limit, after_id=after_id, before_id=before_id)
    return {"object": "list", "data": [_with_presets(api, request, model) for model in statuses]}


# Ids contain slashes, so this takes every path below /v1/models/: a route there must stand above it.
@router.get("/v1/models/{model:path}")
@router.get("/models/{model:path}", include_in_schema=False)
async def retrieve_model(request: Request, model: str) -> dict[str, Any]:
    """One model, by `name` or `name:TYPE`, with a LoRA adapter by `name:adapter`."""
    record_of(request.scope).model = model
    api = api_of(request)
    status = api.find(request, model)
    if _is_anthropic(request):
        return {**anthropic_models.model_object(status), "id": model}
    return {**_with_presets(api, request, status), "id": model}


def _presets(api: Api) -> list[ModelStatus]:
    """Return every preset whose models are here; for others a request tells what is missing."""
    found = []
    for name in api.presets.table.presets:
        with suppress(ModelNotFound):
            found.append(api.service.find(name))
    return found


def _with_presets(api: Api, request: Request, model: ModelStatus) -> dict[str, Any]:
    """Return a model's object with the caller's names for it, or a preset's with its arms."""
    table = api.presets.table
    if (preset := table.find(model.name)) is not None:
        arms = [
            {"name": target.arm or target.model, "model": target.model, "share": round(target.share, 6)}
            for target in preset.targets
        ]
        return {
            **model_object(model),
            "aliases": [],
            "description": preset.description or None,
            "arms": arms,
        }
    names = {model.name, f"{model.name}:{model.type}"}
    caller = caller_of(request.scope)
    aliases = [
        preset.name
        for preset in table.presets.values()
        if any(target.model in names for target in preset.targets) and caller.may_use(preset.name)
    ]
    return {**model_object(model), "aliases": aliases}


def _is_anthropic(request: Request) -> bool:
    return is_anthropic(request.url.path, request.scope["headers"])


def model_object(model: ModelStatus) -> dict[str, Any]:
    """Return OpenAI's model object, with its state and its context; llama-server's `meta` is whole once the
    model was loaded."""
    info = model.info
    meta: dict[str, Any] | None = None if model.n_ctx is None else {"n_ctx": model.n_ctx}
    if info is not None:
        meta = {
            "n_vocab": info.n_vocab,
            "n_ctx": info.n_ctx,
            "n_ctx_train": info.n_ctx_train,
            "n_embd": info.n_embd,
            "n_params": info.n_params,
            "size": info.size_bytes,
            "ftype": info.ftype,
        }
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "corral",
        "parent": model.parent,
        "context_length": model.n_ctx,
        "max_model_len": model.n_ctx,
        "meta": meta,
        "status": {"value": model.state, "progress": model.progress, "problem": model.problem},
        "type": model.type,
        "kind": model.kind,
        "input_modalities": ["text", "image"] if model.sees_images else ["text"],
        "pooling": None if info is None or info.pooling is None else info.pooling.name,
        "prompt_format": None if info is None or info.pooling is not None else info.prompt_format,
    }
