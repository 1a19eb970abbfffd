"""`/tokenize`, `/detokenize`, `/apply-template` as in llama-server; `/tokenizer_info` as in vLLM.

The first two also answer in the forms that vLLM's clients and evaluation tools expect.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.http.dependencies import api_of
from server.http.openapi import json_body
from server.http.pieces import JsonPieces
from server.ipc.messages import (
    ApplyTemplateReply,
    DetokenizeReply,
    Tokenize,
    TokenizeReply,
)
from server.openai.requests.schemas import ApplyTemplateRequest, DetokenizeRequest, TokenizeRequest
from server.openai.token_answers import TextAnswer, TokenAnswer

router = APIRouter(tags=["Tokens"])


@router.post("/tokenize", openapi_extra=json_body(TokenizeRequest))
@router.post("/v1/tokenize", include_in_schema=False)
async def tokenize(request: Request) -> Response:
    """Text → token ids; `with_pieces` adds each token's text, or its bytes where they aren't UTF-8.

    With `prompt` in place of `content`, special tokens are added unless `add_special_tokens` is false, and
    the answer holds `count` and `max_model_len` too: so evaluation tools expect it.
    """
    api = api_of(request)
    body = await api.read_question(request, "tokenize")
    name = api.resolve(request, body.model)
    answer = TokenAnswer()
    answer.add(await api.service.ask(name, body.question, TokenizeReply, answer.add))
    if not body.counted:
        return await JsonPieces.of(answer.json())
    info = api.service.find(name).info
    return await JsonPieces.of(
        answer.json(count=answer.n_tokens, max_model_len=None if info is None else info.n_ctx)
    )


@router.post("/detokenize", openapi_extra=json_body(DetokenizeRequest))
@router.post("/v1/detokenize", include_in_schema=False)
async def detokenize(request: Request) -> Response:
    """Token ids → text, as `content` (llama-server) and as `prompt` (vLLM)."""
    api = api_of(request)
    body = await api.read_question(request, "detokenize")
    name = api.resolve(request, body.model)
    answer = TextAnswer()

    def add(reply: DetokenizeReply) -> None:
        answer.add(reply.text)

    add(await api.service.ask(name, body.question, DetokenizeReply, add))
    return await JsonPieces.of(answer.json("content", "prompt"))


@router.get("/tokenizer_info")
@router.get("/v1/tokenizer_info", include_in_schema=False)
async def tokenizer_info(request: Request, model: str | None = None) -> dict[str, Any]:
    """The model's special tokens, chat template and sizes. Loads the model if need be."""
    api = api_of(request)
    name = api.resolve(request, model)
    info = api.service.find(name).info
    if info is None:
        await api.service.ask(name, Tokenize(text="", parse_special=False), TokenizeReply)
        info = api.service.find(name).info
    return {
        "tokenizer_class": "llama.cpp",
        "bos_token": None if info is None else info.bos_token,
        "eos_token": None if info is None else info.eos_token,
        "chat_template": None if info is None else info.chat_template,
        "model_max_length": None if info is None else info.n_ctx,
        "vocab_size": None if info is None else info.n_vocab,
    }


@router.post("/apply-template", openapi_extra=json_body(ApplyTemplateRequest))
@router.post("/v1/apply-template", include_in_schema=False)
async def apply_template(request: Request) -> Response:
    """Messages → the prompt that the model would get."""
    api = api_of(request)
    body = await api.read_question(request, "apply_template")
    name = api.resolve(request, body.model)
    answer = TextAnswer()

    def add(reply: ApplyTemplateReply) -> None:
        answer.add(reply.prompt)

    add(await api.service.ask(name, body.question, ApplyTemplateReply, add))
    return await JsonPieces.of(answer.json("prompt"))
