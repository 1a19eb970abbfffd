"""`POST /admin/models/pull` and `/admin/jobs`: models fetched and quantized beside those served."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from models.errors import InvalidReference, RequestError
from models.reference import canonical_type
from server.http.dependencies import api_of
from server.jobs.hub_name import hub_name
from server.jobs.job import Job
from server.jobs.table import JobTable
from server.openai.sse import COMMENT, CONTENT_TYPE

router = APIRouter(tags=["Admin"])


class Pull(BaseModel):
    """The body of `POST /admin/models/pull`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1, max_length=512)]
    types: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=32)] | None = None
    kind: Annotated[
        Literal["pull", "update"], Field(description="update: of a model that is here, what has changed.")
    ] = "pull"
    stream: Annotated[
        bool, Field(description="True: the answer is the job's events, as at /admin/jobs/{id}/events.")
    ] = False
    stream_weights: Annotated[
        bool, Field(description="True: weights are quantized as they arrive, and never on the disk.")
    ] = False


_PULL = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": Pull.model_json_schema()}}}
}


@router.post("/admin/models/pull", openapi_extra=_PULL)
async def pull_model(request: Request) -> Response:
    """Fetch a model and quantize it, or fetch a ready GGUF; answers at once with the job that does it."""
    jobs = _jobs(request)
    body = await api_of(request).read_small(request, Pull)
    job = jobs.start(body.kind, hub_name(body.model), _types(body), stream=body.stream_weights)
    if body.stream:
        return _events(job, 0, api_of(request).config.sse_comment_s)
    return JSONResponse(job.document(), status_code=202)


@router.get("/admin/jobs")
async def list_jobs(request: Request) -> dict[str, Any]:
    """The jobs of this server, the newest first."""
    return {"object": "list", "data": [job.document() for job in _jobs(request).list()]}


@router.get("/admin/jobs/{job_id}")
async def retrieve_job(request: Request, job_id: str) -> dict[str, Any]:
    """One job: how far it is, or how it ended."""
    return _jobs(request).get(job_id).document()


@router.get("/admin/jobs/{job_id}/events")
async def follow_job(request: Request, job_id: str) -> Response:
    """A job's events, `progress`, then `done` or `error`; those after `Last-Event-ID`, if it is sent."""
    job = _jobs(request).get(job_id)
    last = request.headers.get("last-event-id", "0").strip()
    if not last.isascii() or not last.isdigit() or len(last) > 18:
        raise RequestError(
            f"Last-Event-ID is {last[:40]!r}; it is the number of an event", param="last-event-id"
        )
    return _events(job, int(last), api_of(request).config.sse_comment_s)


@router.post("/admin/jobs/{job_id}/cancel")
async def cancel_job(request: Request, job_id: str) -> dict[str, Any]:
    """End a job; answers once nothing of it is left. One that has ended stays as it is."""
    return (await _jobs(request).cancel(job_id)).document()


def _events(job: Job, after: int, silence_s: float) -> Response:
    async def written() -> AsyncIterator[bytes]:
        async for event in job.events_and_silences(after, silence_s):
            if event is None:
                yield COMMENT
                continue
            number, name, data = event
            yield f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()

    return StreamingResponse(written(), media_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})


def _types(body: Pull) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(map(canonical_type, body.types or ())))
    except InvalidReference as error:
        raise RequestError(error.message, param="types") from error


def _jobs(request: Request) -> JobTable:
    jobs = api_of(request).jobs
    if jobs is None:
        raise RequestError("this server runs no jobs", code="unsupported")
    return jobs
