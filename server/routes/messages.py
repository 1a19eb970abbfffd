"""`POST /v1/messages` and `/v1/messages/count_tokens`, Anthropic's."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.answers.read_source import ReadSource
from server.anthropic.blocks import new_message_id
from server.anthropic.requests.schemas import CountTokensRequest, MessagesRequest
from server.anthropic.stream import MessageEncoder
from server.anthropic.whole import WholeMessage
from server.http.access_log import record_of
from server.http.dependencies import api_of
from server.http.disconnect import while_connected
from server.http.openapi import json_body
from server.http.pieces import JsonPieces
from server.http.stream_writer import EventStream
from server.ipc.messages import CountTokensReply

router = APIRouter(tags=["Anthropic"])


@router.post("/v1/messages", openapi_extra=json_body(MessagesRequest))
async def create_message(request: Request) -> Response:
    """Answer a conversation in Anthropic's form, whole or as a stream of events."""
    api = api_of(request)
    message_id = new_message_id()
    body = await api.read_message(request, message_id)
    options = body.message
    assert options is not None
    model = api.resolve(request, body.model)
    record = record_of(request.scope)
    record.generation_id = message_id
    (generate,) = body.generates
    source = ReadSource(api.service.generate(model, generate), options.tools)
    if body.stream:
        encoder = MessageEncoder(message_id, model, options, record.id)
        stream = EventStream.begin(source, encoder, request.scope, comment_s=api.config.sse_comment_s)
        return await while_connected(request.receive, stream)
    whole = WholeMessage(message_id, model, options)
    await while_connected(request.receive, source.subscribe(whole))
    record.usage = whole.usage
    return await JsonPieces.of([whole.json()])


@router.post("/v1/messages/count_tokens", openapi_extra=json_body(CountTokensRequest))
async def count_tokens(request: Request) -> dict[str, int]:
    """The number of tokens of a prompt: what the same request's usage says of its input, cached or not."""
    api = api_of(request)
    body = await api.read_question(request, "count_tokens")
    name = api.resolve(request, body.model)
    reply = await api.service.ask(name, body.question, CountTokensReply)
    return {"input_tokens": reply.n_tokens}
