"""Kept chat completions: those whose request had `store: true`."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.http.api_keys import owner_of
from server.http.dependencies import api_of
from server.http.openapi import json_body
from server.http.pages import Limit, Order, list_of, page_of
from server.responses.records import CompletionFilter
from server.responses.schemas import MetadataUpdate

router = APIRouter(tags=["OpenAI"])

_METADATA = "metadata["


@router.get("/v1/chat/completions")
@router.get("/chat/completions", include_in_schema=False)
async def list_chat_completions(
    request: Request,
    model: str | None = None,
    order: Order = "asc",
    after: str | None = None,
    limit: Limit = 20,
) -> Response:
    """The kept completions, of one model or with some `metadata[key]=value`, the oldest first."""
    metadata = {
        name[len(_METADATA) : -1]: value
        for name, value in request.query_params.items()
        if name.startswith(_METADATA) and name.endswith("]")
    }
    part = await api_of(request).responses.completions(
        owner_of(request.scope),
        CompletionFilter(model=model, metadata=metadata),
        page_of(order, after, limit),
    )
    return _json(list_of(part.items, has_more=part.has_more))


@router.get("/v1/chat/completions/{completion_id}")
@router.get("/chat/completions/{completion_id}", include_in_schema=False)
async def retrieve_chat_completion(request: Request, completion_id: str) -> Response:
    """One kept completion."""
    record = await api_of(request).responses.get(owner_of(request.scope), "completion", completion_id)
    return _json(record.body)


@router.post("/v1/chat/completions/{completion_id}", openapi_extra=json_body(MetadataUpdate))
@router.post("/chat/completions/{completion_id}", include_in_schema=False)
async def update_chat_completion(request: Request, completion_id: str) -> Response:
    """Replace a kept completion's metadata."""
    api, owner = api_of(request), owner_of(request.scope)
    update = await api.read_small(request, MetadataUpdate)
    known = msgspec.json.decode((await api.responses.get(owner, "completion", completion_id)).body)
    body = msgspec.json.encode({**known, "metadata": update.metadata or {}})
    await api.responses.update(owner, "completion", completion_id, body)
    return _json(body)


@router.delete("/v1/chat/completions/{completion_id}")
@router.delete("/chat/completions/{completion_id}", include_in_schema=False)
async def delete_chat_completion(request: Request, completion_id: str) -> dict[str, Any]:
    """Delete a kept completion."""
    await api_of(request).responses.delete(owner_of(request.scope), "completion", completion_id)
    return {"id": completion_id, "object": "chat.completion.deleted", "deleted": True}


@router.get("/v1/chat/completions/{completion_id}/messages")
@router.get("/chat/completions/{completion_id}/messages", include_in_schema=False)
async def list_messages(
    request: Request, completion_id: str, order: Order = "asc", after: str | None = None, limit: Limit = 20
) -> Response:
    """The messages of a kept completion's request."""
    page = page_of(order, after, limit)
    part = await api_of(request).responses.page(owner_of(request.scope), "completion", completion_id, page)
    return _json(list_of(part.items, has_more=part.has_more))


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
