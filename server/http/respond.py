"""`respond`: from a request for a response to its HTTP answer, streamed or whole, kept on the way."""

from __future__ import annotations

from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from server.http.access_log import record_of
from server.http.api_keys import owner_of
from server.http.dependencies import Api
from server.http.disconnect import while_connected
from server.http.stream_writer import EventStream
from server.openai.errors import RequestFailed
from server.responses.answer import ResponseAnswer
from server.responses.read import ResponseForm
from server.responses.records import Item, Record
from server.responses.running import Running, Turn
from server.responses.source import CANCELLED, Keep, ResponseSource
from server.responses.store import Answered, ResponseStore, encoded_item, item_of


async def respond(api: Api, request: Request) -> Response:
    """Read the request, run it, keep its answer and answer.

    Raises every error that comes before the first event, and for a whole answer every error; ClientGone if
    the client goes before that. However this ends, the request ends with it.
    """
    turn = api.running.turn(owner_of(request.scope))
    try:
        return await _respond(api, request, turn)
    except BaseException:  # also a cancelled one
        turn.end()  # the response may never have begun
        raise


async def _respond(api: Api, request: Request, turn: Turn) -> Response:
    """Do it; the turn ends when the response has been made."""
    owner = owner_of(request.scope)
    read, response_id = await api.read_response(request, owner, turn)
    model = api.resolve(request, read.model)
    record = record_of(request.scope)
    record.generation_id = response_id
    is_kept = api.responses.is_on and read.form.store
    answer = ResponseAnswer(response_id, model, read.form, store=is_kept)
    source = ResponseSource(
        api.service.generate(model, read.generates[0]),
        read.form,
        Running(owner, answer, turn=turn),
        api.running,
        _keep(api.responses, owner, answer, read.form) if is_kept else None,
    )
    if read.stream:
        stream = EventStream.begin(source, answer, request.scope, comment_s=api.config.sse_comment_s)
        return await while_connected(request.receive, stream)
    try:
        await while_connected(request.receive, source.subscribe(answer))
    except RequestFailed as error:
        if error.failure.code != CANCELLED:
            raise
        record.outcome = "cancelled"
    record.usage = answer.usage
    return Response(answer.json(), media_type="application/json")


def _keep(store: ResponseStore, owner: str, answer: ResponseAnswer, form: ResponseForm) -> Keep:
    """Return what keeps the answer when it is complete."""

    def make() -> Answered:
        body, output = answer.to_keep()
        record = Record(
            id=answer.id,
            kind="response",
            owner=owner,
            created=answer.created_at,
            body=body,
            previous=form.previous_response_id,
        )
        return record, [item_of(item) for item in form.input_items], [encoded_item(item) for item in output]

    return partial(store.keep, make, form.conversation)


def whole_response(record: Record, output: list[Item]) -> bytes:
    """Return the JSON of a kept response with its output."""
    items = msgspec.json.encode([msgspec.Raw(item.body) for item in output])
    return record.body[:-1] + b',"output":' + items + b"}"
