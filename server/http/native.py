"""`native_answer`: from a request of `/completion` or `/infill` to its HTTP answer, streamed or whole."""

from __future__ import annotations

from functools import partial
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from server.http.access_log import record_of
from server.http.dependencies import Api
from server.http.disconnect import while_connected
from server.http.stream_writer import EventStream
from server.llama_server.answer import NativeAnswer
from server.openai.multi_prompt import MultiPrompt


async def native_answer(api: Api, request: Request, purpose: Literal["native", "infill"]) -> Response:
    """Read the request, run it and answer it. Raises as `server.http.generate.answer` does."""
    read, answer_id = await api.read_native(request, purpose)
    model = api.resolve(request, read.model)
    record = record_of(request.scope)
    record.generation_id = answer_id
    source = MultiPrompt(read.generates, partial(api.service.generate, model), tells_parts=True)
    answer = NativeAnswer(model, read.generates, read.options, read.response_fields, streamed=read.stream)
    if read.stream:
        stream = EventStream.begin(source, answer, request.scope, comment_s=api.config.sse_comment_s)
        return await while_connected(request.receive, stream)
    await while_connected(request.receive, source.subscribe(answer))
    record.usage = answer.usage
    return Response(answer.json(), media_type="application/json")
