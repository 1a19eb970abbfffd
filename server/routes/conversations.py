"""`/v1/conversations`: conversations that responses add to and go on with."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.chat.images import ChatImages
from server.http.api_keys import owner_of
from server.http.dependencies import api_of
from server.http.openapi import json_body
from server.http.pages import Limit, Order, list_of, page_of
from server.responses.identity import new_id
from server.responses.items import check_numbers, messages_of
from server.responses.read import kept_item
from server.responses.records import Item, Record
from server.responses.schemas import ConversationCreation, ItemsCreation, MetadataUpdate
from server.responses.store import item_of

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/conversations", openapi_extra=json_body(ConversationCreation))
@router.post("/conversations", include_in_schema=False)
async def create_conversation(request: Request) -> Response:
    """Begin a conversation, with items or without."""
    api = api_of(request)
    body = await api.read_small(request, ConversationCreation)
    items = _checked(body.items or [], [])
    created = int(time.time())
    conversation: dict[str, Any] = {
        "id": new_id("conv"),
        "object": "conversation",
        "created_at": created,
        "metadata": body.metadata or {},
    }
    encoded = msgspec.json.encode(conversation)
    await api.responses.create(
        Record(
            id=conversation["id"],
            kind="conversation",
            owner=owner_of(request.scope),
            created=created,
            body=encoded,
        ),
        items,
    )
    return _json(encoded)


@router.get("/v1/conversations/{conversation_id}")
@router.get("/conversations/{conversation_id}", include_in_schema=False)
async def retrieve_conversation(request: Request, conversation_id: str) -> Response:
    """One conversation, without its items."""
    return _json(await _conversation(request, conversation_id))


@router.post("/v1/conversations/{conversation_id}", openapi_extra=json_body(MetadataUpdate))
@router.post("/conversations/{conversation_id}", include_in_schema=False)
async def update_conversation(request: Request, conversation_id: str) -> Response:
    """Replace a conversation's metadata."""
    api = api_of(request)
    update = await api.read_small(request, MetadataUpdate)
    known = msgspec.json.decode(await _conversation(request, conversation_id))
    body = msgspec.json.encode({**known, "metadata": update.metadata or {}})
    await api.responses.update(owner_of(request.scope), "conversation", conversation_id, body)
    return _json(body)


@router.delete("/v1/conversations/{conversation_id}")
@router.delete("/conversations/{conversation_id}", include_in_schema=False)
async def delete_conversation(request: Request, conversation_id: str) -> dict[str, Any]:
    """Delete a conversation and its items. Responses that were made with it stay."""
    await api_of(request).responses.delete(owner_of(request.scope), "conversation", conversation_id)
    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}


@router.get("/v1/conversations/{conversation_id}/items")
@router.get("/conversations/{conversation_id}/items", include_in_schema=False)
async def list_items(
    request: Request, conversation_id: str, order: Order = "desc", after: str | None = None, limit: Limit = 20
) -> Response:
    """The items of a conversation, the last first unless `order` is `asc`."""
    page = page_of(order, after, limit)
    store = api_of(request).responses
    part = await store.page(owner_of(request.scope), "conversation", conversation_id, page)
    return _json(list_of(part.items, has_more=part.has_more))


@router.post("/v1/conversations/{conversation_id}/items", openapi_extra=json_body(ItemsCreation))
@router.post("/conversations/{conversation_id}/items", include_in_schema=False)
async def create_items(request: Request, conversation_id: str) -> Response:
    """Add items to a conversation."""
    api = api_of(request)
    body = await api.read_small(request, ItemsCreation)
    check_numbers(body.items, "items")
    given = [item.get("call_id") for item in body.items]
    call_ids = [call_id for call_id in given if isinstance(call_id, str)]
    owner = owner_of(request.scope)
    api.running.check_free(owner, conversation_id)
    items = await api.responses.append(owner, conversation_id, call_ids, partial(_checked, body.items))
    return _json(list_of(items))


@router.get("/v1/conversations/{conversation_id}/items/{item_id}")
@router.get("/conversations/{conversation_id}/items/{item_id}", include_in_schema=False)
async def retrieve_item(request: Request, conversation_id: str, item_id: str) -> Response:
    """One item of a conversation."""
    store = api_of(request).responses
    return _json((await store.item(owner_of(request.scope), conversation_id, item_id)).body)


@router.delete("/v1/conversations/{conversation_id}/items/{item_id}")
@router.delete("/conversations/{conversation_id}/items/{item_id}", include_in_schema=False)
async def delete_item(request: Request, conversation_id: str, item_id: str) -> Response:
    """Delete an item; the answer is the conversation."""
    api, owner = api_of(request), owner_of(request.scope)
    api.running.check_free(owner, conversation_id)
    await api.responses.delete_item(owner, conversation_id, item_id)
    return _json(await _conversation(request, conversation_id))


async def _conversation(request: Request, conversation_id: str) -> bytes:
    store = api_of(request).responses
    return (await store.get(owner_of(request.scope), "conversation", conversation_id)).body


def _checked(items: list[dict[str, Any]], before: list[Item]) -> list[Item]:
    """Return new items as they are kept. Raises RequestError for one that no request could be made of.

    `before` are the conversation's items that their calls and outputs may belong to.
    """
    check_numbers(items, "items")
    known = [msgspec.json.decode(item.body) for item in before]
    messages_of(
        [*known, *items],
        len(known),
        known_as="conversation",
        given_as="items",
        complete=False,
        images=ChatImages(),
    )
    return [item_of(kept_item(item)) for item in items]


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
