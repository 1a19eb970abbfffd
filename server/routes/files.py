"""`/v1/files`: the inputs of batches, and their results."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from models.errors import NotKept
from server.batches.form import receive_file
from server.http.api_keys import owner_of
from server.http.dependencies import api_of
from server.http.openapi import form_body
from server.http.pages import Order, list_answer, part_of

router = APIRouter(tags=["OpenAI"])

FileLimit = Annotated[int, Query(ge=1, le=10_000)]


@router.post("/v1/files", openapi_extra=form_body("file", "purpose"))
@router.post("/files", include_in_schema=False)
async def create_file(request: Request) -> dict[str, Any]:
    """Keep a file for a batch: a form with `file` and `purpose`, which is `batch`."""
    store = api_of(request).batches
    content_type = request.headers.get("content-type")
    record = await receive_file(content_type, request.stream(), store, owner_of(request.scope))
    return record.body()


@router.get("/v1/files")
@router.get("/files", include_in_schema=False)
async def list_files(
    request: Request,
    purpose: str | None = None,
    order: Order = "desc",
    after: str | None = None,
    limit: FileLimit = 10_000,
) -> Response:
    """The files, the newest first unless `order` is `asc`."""
    files = await api_of(request).batches.files(owner_of(request.scope))
    wanted = [file for file in files if purpose in (None, file.purpose)]
    return list_answer(part_of(wanted, order, after, limit))


@router.get("/v1/files/{file_id}")
@router.get("/files/{file_id}", include_in_schema=False)
async def retrieve_file(request: Request, file_id: str) -> dict[str, Any]:
    """One file, without its content."""
    return (await api_of(request).batches.file(owner_of(request.scope), file_id)).body()


@router.get("/v1/files/{file_id}/content")
@router.get("/files/{file_id}/content", include_in_schema=False)
async def retrieve_file_content(request: Request, file_id: str) -> Response:
    """A file's content."""
    store = api_of(request).batches
    record = await store.file(owner_of(request.scope), file_id)
    path = store.path(record.id)
    if not path.is_file():
        raise NotKept(f"The content of the file '{record.id}' is gone from this server's disk", param="id")
    return FileResponse(path, media_type="application/octet-stream", filename=record.filename)


@router.delete("/v1/files/{file_id}")
@router.delete("/files/{file_id}", include_in_schema=False)
async def delete_file(request: Request, file_id: str) -> dict[str, Any]:
    """Delete a file. The input of a batch can be deleted when the batch has ended."""
    await api_of(request).batches.delete_file(owner_of(request.scope), file_id)
    return {"id": file_id, "object": "file", "deleted": True}
