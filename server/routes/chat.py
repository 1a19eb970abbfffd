"""`POST /v1/chat/completions`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.http.dependencies import api_of
from server.http.generate import answer
from server.http.openapi import json_body
from server.ipc.messages import CountTokensReply
from server.openai.requests.schemas import ChatCompletionRequest

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/chat/completions", openapi_extra=json_body(ChatCompletionRequest))
@router.post("/chat/completions", include_in_schema=False)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, whole or as a stream of server-sent events."""
    return await answer(api_of(request), request, "chat")


# A chat's kept answer has a route with its id in this place: this one must stand above that.
@router.post("/v1/chat/completions/input_tokens", openapi_extra=json_body(ChatCompletionRequest))
@router.post("/chat/completions/input_tokens", include_in_schema=False)
async def count_chat_tokens(request: Request) -> dict[str, int]:
    """The number of tokens of a conversation's prompt."""
    api = api_of(request)
    body = await api.read_question(request, "count_chat")
    reply = await api.service.ask(api.resolve(request, body.model), body.question, CountTokensReply)
    return {"input_tokens": reply.n_tokens}
