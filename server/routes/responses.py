"""`/v1/responses`: OpenAI's Responses API, with its kept responses."""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from models.errors import RequestError
from server.http import refusals
from server.http.api_keys import owner_of
from server.http.dependencies import api_of
from server.http.error_response import error_response
from server.http.openapi import json_body
from server.http.pages import Limit, Order, list_of, page_of
from server.http.respond import respond, whole_response
from server.ipc.messages import CountTokens, CountTokensReply
from server.ipc.prompts import ChatPrompt
from server.responses.schemas import ResponsesRequest

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/responses", openapi_extra=json_body(ResponsesRequest))
@router.post("/responses", include_in_schema=False)
async def create_response(request: Request) -> Response:
    """Answer a conversation of items, whole or as a stream of events, and keep it."""
    return await respond(api_of(request), request)


@router.post("/v1/responses/input_tokens", openapi_extra=json_body(ResponsesRequest))
@router.post("/responses/input_tokens", include_in_schema=False)
async def count_input_tokens(request: Request) -> dict[str, Any]:
    """The number of tokens of a request's prompt: what the same request's usage says of its input."""
    api = api_of(request)
    read, _ = await api.read_response(request, owner_of(request.scope))
    name = api.resolve(request, read.model)
    prompt = read.generates[0].prompt
    # A long prompt is encoded already and goes on as it is, whatever it is a part of.
    question = CountTokens(prompt=cast("ChatPrompt", prompt))
    reply = await api.service.ask(name, question, CountTokensReply)
    return {"object": "response.input_tokens", "input_tokens": reply.n_tokens}


@router.get("/v1/responses", include_in_schema=False)
@router.get("/responses", include_in_schema=False)
async def no_web_socket(request: Request) -> Response:
    """Refuse a WebSocket by 426, at which clients that try one fall back to POST at once."""
    offers = ("upgrade", "sec-websocket-key")  # behind a connection's own handling the first is gone
    if not any(name in request.headers for name in offers):
        return error_response(refusals.http_error(405, "GET", "/v1/responses"), {"Allow": "OPTIONS, POST"})
    return error_response(refusals.no_web_socket(), {"Upgrade": "HTTP/1.1"})


@router.get("/v1/responses/{response_id}")
@router.get("/responses/{response_id}", include_in_schema=False)
async def retrieve_response(request: Request, response_id: str, stream: bool = False) -> Response:
    """One response: kept, or as it is while it is made."""
    if stream:
        raise RequestError(
            "'stream' of a kept response is not supported by this server; leave it out",
            param="stream",
            code="unsupported_parameter",
        )
    return await _response(request, response_id)


@router.delete("/v1/responses/{response_id}")
@router.delete("/responses/{response_id}", include_in_schema=False)
async def delete_response(request: Request, response_id: str) -> dict[str, Any]:
    """Delete a kept response. Responses that go back to it can't be gone on with any more."""
    await api_of(request).responses.delete(owner_of(request.scope), "response", response_id)
    return {"id": response_id, "object": "response", "deleted": True}


@router.post("/v1/responses/{response_id}/cancel")
@router.post("/responses/{response_id}/cancel", include_in_schema=False)
async def cancel_response(request: Request, response_id: str) -> Response:
    """End a response that is being made where it is; one that has ended stays as it is."""
    api = api_of(request)
    running = api.running.find(owner_of(request.scope), response_id)
    if running is None:
        return await _response(request, response_id)
    running.cancelled.set()
    await running.ended.wait()
    return Response(running.answer.json(), media_type="application/json")


@router.get("/v1/responses/{response_id}/input_items")
@router.get("/responses/{response_id}/input_items", include_in_schema=False)
async def list_input_items(
    request: Request, response_id: str, order: Order = "desc", after: str | None = None, limit: Limit = 20
) -> Response:
    """The items of a kept response's own input, the last first unless `order` is `asc`."""
    page = page_of(order, after, limit)
    part = await api_of(request).responses.page(owner_of(request.scope), "response", response_id, page)
    return Response(list_of(part.items, has_more=part.has_more), media_type="application/json")


async def _response(request: Request, response_id: str) -> Response:
    """Return a response, kept or running. Raises NotKept."""
    api, owner = api_of(request), owner_of(request.scope)
    running = api.running.find(owner, response_id)
    if running is not None:
        return Response(running.answer.json(), media_type="application/json")
    record = await api.responses.get(owner, "response", response_id)
    output = await api.responses.items(owner, "response", response_id, "output")
    return Response(whole_response(record, output), media_type="application/json")
