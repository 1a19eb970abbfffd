"""`/tokenize`, `/detokenize`, `/apply-template` as in llama-server; `/tokenizer_info` as in vLLM.

The first two also answer in the forms that vLLM's clients and evaluation tools expect.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from models.errors import RequestError
from server.http.dependencies import api_of
from server.http.openapi import json_body
from server.ipc.messages import (
    ApplyTemplate,
    ApplyTemplateReply,
    Detokenize,
    DetokenizeReply,
    Tokenize,
    TokenizeReply,
)
from server.openai.requests import to_engine
from server.openai.requests.schemas import ApplyTemplateRequest, DetokenizeRequest, TokenizeRequest

router = APIRouter(tags=["Tokens"])


@router.post("/tokenize", openapi_extra=json_body(TokenizeRequest))
@router.post("/v1/tokenize", include_in_schema=False)
async def tokenize(request: Request) -> dict[str, Any]:
    """Text → token ids; `with_pieces` adds each token's text, or its bytes where they aren't UTF-8.

    With `prompt` in place of `content`, special tokens are added unless `add_special_tokens` is false, and
    the answer holds `count` and `max_model_len` too: so evaluation tools expect it.
    """
    api = api_of(request)
    body = await api.read(request, TokenizeRequest)
    text, add_special = _text(body)
    name = api.resolve(request, body.model)
    question = Tokenize(
        text=text,
        add_special=add_special,
        parse_special=body.parse_special is not False,
        with_pieces=body.with_pieces is True,
    )
    reply = await api.service.ask(name, question, TokenizeReply)
    if reply.pieces is not None:
        pieces = zip(reply.tokens, reply.pieces, strict=True)
        return {"tokens": [{"id": token, "piece": _piece(piece)} for token, piece in pieces]}
    if body.content is not None:
        return {"tokens": reply.tokens}
    info = api.service.find(name).info
    return {
        "tokens": reply.tokens,
        "count": len(reply.tokens),
        "max_model_len": None if info is None else info.n_ctx,
    }


@router.post("/detokenize", openapi_extra=json_body(DetokenizeRequest))
@router.post("/v1/detokenize", include_in_schema=False)
async def detokenize(request: Request) -> dict[str, str]:
    """Token ids → text, as `content` (llama-server) and as `prompt` (vLLM)."""
    api = api_of(request)
    body = await api.read(request, DetokenizeRequest)
    name = api.resolve(request, body.model)
    reply = await api.service.ask(name, Detokenize(tokens=tuple(body.tokens)), DetokenizeReply)
    return {"content": reply.text, "prompt": reply.text}


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
async def apply_template(request: Request) -> dict[str, str]:
    """Messages → the prompt that the model would get."""
    api = api_of(request)
    body = await api.read(request, ApplyTemplateRequest)
    prompt = to_engine.chat_prompt(body)
    name = api.resolve(request, body.model)
    reply = await api.service.ask(name, ApplyTemplate(prompt=prompt), ApplyTemplateReply)
    return {"prompt": reply.prompt}


def _text(body: TokenizeRequest) -> tuple[str, bool]:
    """Return the text, and True if special tokens are added around it."""
    if body.content is not None:
        return body.content, (body.add_special or body.add_special_tokens) is True
    if body.prompt is not None:
        return body.prompt, body.add_special_tokens is not False and body.add_special is not False
    raise RequestError(
        "Missing required parameter: 'content'", param="content", code="missing_required_parameter"
    )


def _piece(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
