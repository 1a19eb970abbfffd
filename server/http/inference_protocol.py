"""`answer_texts`: from a request of the Open Inference Protocol to its HTTP answer."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from server.hosting.tensors import TextPurpose
from server.hosting.text_answer import TextAnswer
from server.http.access_log import record_of
from server.http.dependencies import Api
from server.http.disconnect import while_connected
from server.http.pieces import JsonPieces
from server.http.stream_writer import EventStream
from server.openai.multi_prompt import MultiPrompt


async def answer_texts(
    api: Api, request: Request, purpose: TextPurpose, model: str = "", *, streamed: bool = False
) -> Response:
    """Read the request, run it and answer it. Raises as `server.http.generate.answer` does.

    `model` is the path's; empty: the body may name one.
    """
    read, answer_id = await api.read_text(request, purpose, model)
    name = api.resolve(request, read.model)
    record = record_of(request.scope)
    record.generation_id = answer_id
    assert read.tensors is not None
    version = api.service.find(name).type
    answer = TextAnswer(name, version, read.tensors, len(read.generates))
    source = MultiPrompt(read.generates, partial(api.service.generate, name))
    if streamed:
        stream = EventStream.begin(source, answer, request.scope, comment_s=api.config.sse_comment_s)
        return await while_connected(request.receive, stream)
    await while_connected(request.receive, source.subscribe(answer))
    record.usage = answer.usage
    return await JsonPieces.of([answer.tensors() if purpose == "infer_tensors" else answer.text()])
