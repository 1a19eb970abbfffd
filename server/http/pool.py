"""`answer_pooled`: from a request for vectors or scores to its HTTP answer."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.embeddings.answers import PooledAnswer
from server.embeddings.read import PooledPurpose
from server.http.access_log import record_of
from server.http.dependencies import Api
from server.http.disconnect import while_connected
from server.http.pieces import JsonPieces


async def answer_pooled(api: Api, request: Request, purpose: PooledPurpose) -> Response:
    """Read the request, run it and answer it. Raises every error, and ClientGone."""
    read, answer_id = await api.read_pooled(request, purpose)
    model = api.resolve(request, read.model)
    record = record_of(request.scope)
    record.generation_id = answer_id
    answer = PooledAnswer(answer_id, model, read.form)
    source = api.service.generate(model, read.pool)
    await while_connected(request.receive, source.subscribe(answer))
    record.usage = answer.usage
    return await JsonPieces.of(answer.pieces())
