"""`fill_in`: from a request of `/infill` to its HTTP answer, streamed or whole."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.http.access_log import record_of
from server.http.dependencies import Api
from server.http.disconnect import while_connected
from server.http.stream_writer import EventStream
from server.openai.infill_answer import InfillAnswer


async def fill_in(api: Api, request: Request) -> Response:
    """Read the request, run it and answer it. Raises as `server.http.generate.answer` does."""
    read, answer_id = await api.read_infill(request)
    model = api.resolve(request, read.model)
    record = record_of(request.scope)
    record.generation_id = answer_id
    source = api.service.generate(model, read.generates[0])
    answer = InfillAnswer(model, read.options, read.response_fields, streamed=read.stream)
    if read.stream:
        stream = EventStream.begin(source, answer, request.scope, comment_s=api.config.sse_comment_s)
        return await while_connected(request.receive, stream)
    await while_connected(request.receive, source.subscribe(answer))
    record.usage = answer.usage
    return Response(answer.json(), media_type="application/json")
