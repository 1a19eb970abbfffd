"""`ollama_answer` and `ollama_vectors`: from a request of Ollama's clients to its HTTP answer."""

from __future__ import annotations

import time
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from models.errors import ModelNotFound, RequestError
from server.answers.read_source import ReadSource
from server.embeddings.answers import PooledAnswer
from server.http.access_log import record_of
from server.http.dependencies import Api
from server.http.disconnect import while_connected
from server.http.pieces import JsonPieces
from server.http.stream_writer import EventStream
from server.ollama.abilities import thinks
from server.ollama.answer import CONTENT_TYPE, OllamaAnswer
from server.ollama.form import OllamaForm
from server.ollama.names import plain_name
from server.ollama.times import iso_now
from server.supervisor.lives import ModelLives

_LOADED = ("ready", "loading", "restarting")


async def ollama_answer(
    api: Api, request: Request, purpose: Literal["ollama_chat", "ollama_generate"]
) -> Response:
    """Read the request, run it and answer it. Raises as `server.http.generate.answer` does."""
    begun_ns = time.monotonic_ns()
    read, answer_id = await api.read_native(request, purpose)
    form, told = read.ollama, read.model
    assert form is not None
    model = resolve(api, request, told)
    assert told is not None
    if form.only_loads:
        reason = await while_connected(request.receive, change_life(api, model, form.keep_alive_s))
        return JSONResponse(_empty(told, form, reason))
    if form.needs_thoughts:
        await _require_thoughts(api, model, told)
    record = record_of(request.scope)
    record.generation_id = answer_id
    (generate,) = read.generates
    source = ReadSource(api.service.generate(model, generate), form.tools)
    answer = OllamaAnswer(told, form, streamed=read.stream, begun_ns=begun_ns)
    if read.stream:
        stream = EventStream.begin(
            source, answer, request.scope, comment_s=api.config.sse_comment_s, content_type=CONTENT_TYPE
        )
        return await while_connected(request.receive, stream)
    await while_connected(request.receive, source.subscribe(answer))
    record.usage = answer.usage
    return await JsonPieces.of([answer.json()])


async def ollama_vectors(
    api: Api, request: Request, purpose: Literal["ollama_embed", "ollama_embeddings"]
) -> Response:
    """Read the request, run it and answer it. Raises every error, and ClientGone."""
    read, answer_id = await api.read_pooled(request, purpose)
    model = resolve(api, request, read.model)
    assert read.model is not None
    if not read.form.n_answers:
        await while_connected(request.receive, change_life(api, model, read.pool.keep_alive_s))
        is_single = purpose == "ollama_embeddings"
        return JSONResponse({"embedding": []} if is_single else {"model": read.model, "embeddings": []})
    record = record_of(request.scope)
    record.generation_id = answer_id
    answer = PooledAnswer(answer_id, read.model, read.form)
    source = api.service.generate(model, read.pool)
    await while_connected(request.receive, source.subscribe(answer))
    record.usage = answer.usage
    return await JsonPieces.of(answer.pieces())


def resolve(api: Api, request: Request, name: str | None) -> str:
    """Return the name that a model has here. Raises ModelNotFound in Ollama's words, and RequestError."""
    if not name:
        raise RequestError("model is required", param="model", code="missing_required_parameter")
    try:
        return api.resolve(request, plain_name(name))
    except ModelNotFound as error:
        raise ModelNotFound(f"model '{name}' not found; GET /api/tags lists those that are here") from error


def lives_of(api: Api) -> ModelLives:
    """Return the models' lives. Raises RequestError where nobody manages them."""
    if api.lives is None:
        raise RequestError("this server doesn't manage its models", code="unsupported")
    return api.lives


async def change_life(api: Api, model: str, keep_alive_s: float | None) -> Literal["load", "unload"]:
    """Load a model, or let it go where it is to stay for 0 seconds; return which of them it was.

    One that is pinned, or that still answers, goes no sooner than it would after any request.
    """
    lives = lives_of(api)
    if keep_alive_s == 0:
        if api.service.find(model).state in _LOADED:
            await lives.load(model, 0.0)
        return "unload"
    await lives.load(model, keep_alive_s)
    return "load"


async def _require_thoughts(api: Api, model: str, told: str) -> None:
    """Raise RequestError for a model without thoughts, as far as that is known before it is loaded."""
    info = api.service.find(model).info
    if info is not None:
        can_think = info.prompt_format == "template" and thinks(info.chat_template)
    elif api.lives is not None:
        abilities = (await api.model_files.summary(api.lives.file(model))).abilities
        can_think = not abilities or "thinking" in abilities
    else:
        return
    if not can_think:
        raise RequestError(
            f"\"{told}\" does not support thinking; leave 'think' out, or set it to false", param="think"
        )


def _empty(model: str, form: OllamaForm, reason: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "created_at": iso_now()}
    if form.route == "chat":
        body["message"] = {"role": "assistant", "content": ""}
    else:
        body["response"] = ""
    return {**body, "done": True, "done_reason": reason}
