"""`/v1/batches`: many requests of a file, answered in idle times."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from models.errors import NotKept, RequestError
from server.batches.requests import BatchCreation, new_batch
from server.http.api_keys import owner_of
from server.http.dependencies import api_of
from server.http.openapi import json_body
from server.http.pages import Limit, list_answer, part_of

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/batches", openapi_extra=json_body(BatchCreation))
@router.post("/batches", include_in_schema=False)
async def create_batch(request: Request) -> dict[str, Any]:
    """Begin a batch. Its lines are checked first: what is wrong with them is in `errors` of the batch."""
    api, owner = api_of(request), owner_of(request.scope)
    wish = await api.read_small(request, BatchCreation)
    for name in wish.model_extra or {}:
        api.warn_once(name, f"ignored unknown field {name[:80]!r} in {request.url.path}")
    record = new_batch(wish, owner, api.batch_endpoints)
    try:
        file = await api.batches.file(owner, record.input_file)
    except NotKept as error:
        raise NotKept(error.message, param="input_file_id") from error
    if file.purpose != "batch":
        raise RequestError(
            f"the file {file.id} has the purpose '{file.purpose}'; a batch's input has 'batch'",
            param="input_file_id",
            code="invalid_value",
        )
    await api.batches.add_batch(record)
    return record.body()


@router.get("/v1/batches")
@router.get("/batches", include_in_schema=False)
async def list_batches(request: Request, after: str | None = None, limit: Limit = 20) -> Response:
    """The batches, the newest first."""
    batches = await api_of(request).batches.batches(owner_of(request.scope))
    return list_answer(part_of(batches, "desc", after, limit))


@router.get("/v1/batches/{batch_id}")
@router.get("/batches/{batch_id}", include_in_schema=False)
async def retrieve_batch(request: Request, batch_id: str) -> dict[str, Any]:
    """One batch, and how far it has come."""
    return (await api_of(request).batches.batch(owner_of(request.scope), batch_id)).body()


@router.post("/v1/batches/{batch_id}/cancel")
@router.post("/batches/{batch_id}/cancel", include_in_schema=False)
async def cancel_batch(request: Request, batch_id: str) -> dict[str, Any]:
    """Cancel a batch. What has been answered by then can be read."""
    return (await api_of(request).batches.cancel_batch(owner_of(request.scope), batch_id)).body()
