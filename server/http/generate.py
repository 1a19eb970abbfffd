"""`answer`: from `Generate` messages to an HTTP answer, streamed or whole, for chats and completions."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from server.http.access_log import record_of
from server.http.dependencies import Api
from server.http.disconnect import while_connected
from server.http.stream_writer import EventStream
from server.ipc.messages import Generate
from server.openai.chunks import ChunkEncoder
from server.openai.heading import Heading, Kind, new_id
from server.openai.multi_prompt import MultiPrompt
from server.openai.requests.answer_options import AnswerOptions, answer_options
from server.openai.requests.schemas import GenerationRequest
from server.openai.response import WholeAnswer

MakeGenerates = Callable[[AnswerOptions, str, float | None], list[Generate]]


async def answer(
    api: Api, request: Request, body: GenerationRequest, kind: Kind, make_generates: MakeGenerates
) -> Response:
    """Run the request and answer it. `make_generates(options, id, timeout_s)` makes the engine's messages.

    Raises every error that comes before the first event, and for a whole answer every error; ClientGone if
    the client goes before that. However this ends, the request ends with it.
    """
    options, answer_id = answer_options(body), new_id(kind)
    generates = make_generates(options, answer_id, api.config.request_timeout_s)
    model = api.resolve(request, body.model)
    record = record_of(request.scope)
    record.generation_id = answer_id
    n_choices = sum(generate.n for generate in generates)
    heading = Heading(kind=kind, id=answer_id, created=int(time.time()), model=model, n_choices=n_choices)
    source = MultiPrompt(generates, partial(api.service.generate, model))
    if body.stream:
        encoder = ChunkEncoder(heading, options)
        stream = EventStream.begin(source, encoder, request.scope, comment_s=api.config.sse_comment_s)
        return await while_connected(request.receive, stream)
    whole = WholeAnswer(heading, options)
    await while_connected(request.receive, source.subscribe(whole))
    assert whole.choices.finish is not None
    record.usage = whole.choices.finish.usage
    return Response(whole.json(), media_type="application/json")
