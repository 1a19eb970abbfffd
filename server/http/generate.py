"""From `Generate` messages to an HTTP answer, streamed or whole: what both kinds of completions share."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from server.engine.events import Event
from server.http.access_log import record_of
from server.http.dependencies import Api
from server.http.disconnect import while_connected
from server.http.event_stream import EventStream
from server.ipc.messages import Generate
from server.openai import multi_prompt
from server.openai.chunks import AnswerStream, Heading, Kind, new_id
from server.openai.requests.schemas import CompletionRequest, GenerationRequest
from server.openai.requests.to_engine import n_probs
from server.openai.response import AnswerWhole, Candidates

MakeGenerates = Callable[[str, float | None], list[Generate]]


async def answer(
    api: Api, request: Request, asked: GenerationRequest, kind: Kind, make_generates: MakeGenerates
) -> Response:
    """Run the request and answer it. `make_generates(id, timeout_s)` makes the engine's messages.

    Raises every error that comes before the first event, and for a whole answer every error; ClientGone if
    the client goes before that. However this ends, the request ends with it.
    """
    answer_id = new_id(kind)
    generates = make_generates(answer_id, api.config.request_timeout_s)
    model = api.resolve(request, asked.model)
    record = record_of(request.scope)
    record.generation_id = answer_id
    n_choices = sum(generate.n for generate in generates)
    heading = Heading(kind=kind, id=answer_id, created=int(time.time()), model=model, n_choices=n_choices)
    events = multi_prompt.run(generates, partial(api.service.generate, model))
    if asked.stream:
        return await _streamed(api, request, asked, heading, events)
    return await _whole(request, asked, heading, events)


async def _streamed(
    api: Api,
    request: Request,
    asked: GenerationRequest,
    heading: Heading,
    events: AsyncGenerator[Event, None],
) -> Response:
    """Headers wait for the first event, so that an error before it has a status of its own."""
    chunks = AnswerStream(
        heading,
        include_usage=asked.stream_options is not None and asked.stream_options.include_usage is True,
        timings_per_token=asked.timings_per_token is True,
        return_tokens=asked.return_tokens is True,
        logprobs=n_probs(asked) is not None,
    )
    try:
        first = await while_connected(request.receive, _first(events, chunks))
    except BaseException:
        await events.aclose()
        raise
    return EventStream(events, chunks, first, comment_s=api.config.sse_comment_s)


async def _first(events: AsyncGenerator[Event, None], chunks: AnswerStream) -> Sequence[bytes]:
    return chunks.feed(await anext(events))


async def _whole(
    request: Request, asked: GenerationRequest, heading: Heading, events: AsyncGenerator[Event, None]
) -> Response:
    whole = AnswerWhole(
        heading,
        return_tokens=asked.return_tokens is True,
        logprobs=n_probs(asked) is not None,
        candidates=_candidates(asked),
    )
    async with aclosing(events):
        await while_connected(request.receive, _collect(events, whole))
    assert whole.finish is not None
    record_of(request.scope).usage = whole.finish.usage
    return Response(whole.json(), media_type="application/json")


def _candidates(asked: GenerationRequest) -> Candidates | None:
    if not isinstance(asked, CompletionRequest) or asked.best_of is None:
        return None
    return Candidates(best_of=asked.best_of, n=asked.n or 1)


async def _collect(events: AsyncGenerator[Event, None], whole: AnswerWhole) -> None:
    async for event in events:
        whole.feed(event)
