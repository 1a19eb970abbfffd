"""`answer`: from a request to its HTTP answer, streamed or whole, for chats and completions."""

from __future__ import annotations

import time
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from server.http.access_log import record_of
from server.http.api_keys import owner_of
from server.http.dependencies import Api
from server.http.disconnect import while_connected
from server.http.pieces import JsonPieces
from server.http.stream_writer import EventStream
from server.openai.chunks import ChunkEncoder
from server.openai.heading import Heading, Kind
from server.openai.kept_chat import KeptChat
from server.openai.multi_prompt import MultiPrompt
from server.openai.requests.reading import GenerationRead
from server.openai.response import WholeAnswer
from server.openai.steps.answer_parts import AnswerParts
from server.supervisor.protocol import EventSource


async def answer(api: Api, request: Request, kind: Kind) -> Response:
    """Read the request, run it and answer it.

    Raises every error that comes before the first event, and for a whole answer every error; ClientGone if
    the client goes before that. However this ends, the request ends with it.
    """
    body, answer_id = await api.read_generation(request, kind)
    if api.is_native and api.config.log_level == "debug" and not body.stream:
        body = _verbose(body)
    options, generates = body.options, body.generates
    model = api.resolve(request, body.model)
    record = record_of(request.scope)
    record.generation_id = answer_id
    n_choices = sum(generate.n for generate in generates)
    heading = Heading(
        kind=kind,
        id=answer_id,
        created=int(time.time()),
        model=model,
        n_choices=n_choices,
        is_native=api.is_native,
    )
    source: EventSource = MultiPrompt(generates, partial(api.service.generate, model))
    if kind == "chat":
        source = AnswerParts(source, options)
    if body.store and not api.responses.is_on:
        api.warn_once("store", "a chat with 'store' isn't kept: response_store is false")
    elif body.store:
        owner = owner_of(request.scope)
        source = KeptChat(source, api.responses, owner, heading, options, generates[0], body.metadata)
    if body.stream:
        encoder = ChunkEncoder(heading, options)
        stream = EventStream.begin(source, encoder, request.scope, comment_s=api.config.sse_comment_s)
        return await while_connected(request.receive, stream)
    whole = WholeAnswer(heading, options)
    await while_connected(request.receive, source.subscribe(whole))
    assert whole.choices.finish is not None
    record.usage = whole.choices.finish.usage
    return await JsonPieces.of(whole.pieces())


def _verbose(body: GenerationRead) -> GenerationRead:
    """Return the request as if its client wanted the prompt and the parameters to be told."""
    return msgspec.structs.replace(
        body,
        generates=[msgspec.structs.replace(generate, tells_reading=True) for generate in body.generates],
    )
