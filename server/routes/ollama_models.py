"""Ollama's routes for models: `/api/tags`, `ps`, `show`, `pull`, `delete`, `version`, and refusals."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from models.errors import DiskFull, InvalidReference, NotServed, RequestError
from models.version import VERSION
from server.engine.events import DISK_FULL
from server.http.dependencies import api_of
from server.http.disconnect import while_connected
from server.http.ollama import lives_of, resolve
from server.http.openapi import json_body
from server.jobs.hub_name import hub_name
from server.ollama.answer import CONTENT_TYPE
from server.ollama.model_files import capabilities, details, digest_of, show_document, vram_bytes
from server.ollama.names import plain_name, tagged_name
from server.ollama.pulls import Progress
from server.ollama.schemas import NamedRequest, PullRequest, ShowRequest
from server.ollama.times import FOR_EVER_S, iso_time
from server.openai.errors import TABLE

router = APIRouter(tags=["Ollama"])

OLLAMA_VERSION = "0.32.0"
"""The version of Ollama whose API this is: clients ask for one that is new enough for them."""


@router.get("/api/version")
async def ollama_version() -> dict[str, str]:
    """The version of Ollama whose API this server has, and its own."""
    return {"version": OLLAMA_VERSION, "corral": VERSION}


@router.get("/api/tags")
async def list_tags(request: Request) -> dict[str, Any]:
    """Every file that can be served, under its type, and the one that serves a plain name as `latest`."""
    api = api_of(request)
    found: list[dict[str, Any]] = []
    for status, entry in lives_of(api).files():
        if not api.usable(request, [status]):
            continue
        summary = await api.model_files.summary(entry)
        told = {
            "modified_at": iso_time(entry.created),
            "size": entry.size_bytes,
            "digest": digest_of(entry),
            "details": details(entry, summary, status.n_ctx),
            "capabilities": capabilities(entry, summary),
        }
        names = [tagged_name(entry.name, entry.type)]
        if status.name == entry.name and entry.type is not None:
            names.insert(0, tagged_name(entry.name, None))
        found += [{"name": each, "model": each, **told} for each in names]
    return {"models": found}


@router.get("/api/ps")
async def list_loaded(request: Request) -> dict[str, Any]:
    """The loaded models, with the memory that each holds, and when it goes."""
    api = api_of(request)
    found: list[dict[str, Any]] = []
    for life, entry in lives_of(api).loaded():
        summary = await api.model_files.summary(entry)
        told = tagged_name(entry.name, None if life.id == entry.name else entry.type)
        status = api.service.find(life.id)
        if not api.usable(request, [status]):
            continue
        left_s = FOR_EVER_S if life.keep_alive_s is None else life.keep_alive_s
        found.append(
            {
                "name": told,
                "model": told,
                "size": life.memory_bytes or entry.size_bytes,
                "digest": digest_of(entry),
                "details": details(entry, summary, None),
                "expires_at": iso_time(life.unloads_at or time.time() + left_s),
                "size_vram": vram_bytes(entry, summary, status.info),
                "context_length": life.context_length,
            }
        )
    return {"models": found}


@router.post("/api/show", openapi_extra=json_body(ShowRequest))
async def show_model(request: Request) -> dict[str, Any]:
    """Tell what a model's header says of it, and what the model can do. Loads nothing."""
    api = api_of(request)
    body = await api.read_small(request, ShowRequest)
    name = resolve(api, request, body.named)
    entry, n_ctx = lives_of(api).file(name), api.service.find(name).n_ctx
    assert body.named is not None
    return await asyncio.to_thread(show_document, body.named, entry, n_ctx, verbose=body.verbose is True)


@router.post("/api/pull", openapi_extra=json_body(PullRequest))
async def pull_ollama_model(request: Request) -> Response:
    """Fetch a model of the Hub, quantized if need be, with the progress as lines of JSON.

    It ends when the client goes, and the next one goes on with what is there.
    """
    api = api_of(request)
    body = await api.read_small(request, PullRequest)
    if api.jobs is None:
        raise RequestError("this server runs no jobs", code="unsupported")
    progress = api.pulls.progress(api.jobs, _hub_name(body.named), (), api.config.sse_comment_s)
    first = await anext(progress)  # so that a refusal has a status of its own
    if body.stream is not False:
        return StreamingResponse(_lines(first, progress), media_type=CONTENT_TYPE)
    last = await while_connected(request.receive, _last(progress))
    if "error" not in last:
        return JSONResponse(last)
    return JSONResponse(last, TABLE[DiskFull].status if last.get("code") == DISK_FULL else 500)


@router.delete("/api/delete", openapi_extra=json_body(NamedRequest))
async def delete_model(request: Request) -> Response:
    """Unload a model and delete its file from the store."""
    api = api_of(request)
    body = await api.read_small(request, NamedRequest)
    name = resolve(api, request, body.named)
    await lives_of(api).delete(name)
    return Response(status_code=200)


@router.post("/api/create", include_in_schema=False)
async def create_model() -> Response:
    """Refused: a Modelfile's system prompt and parameters belong to requests here."""
    raise NotServed(
        "models aren't created over HTTP here; quantize one with: corral quantize, or send 'system' and"
        " 'options' with each request"
    )


@router.post("/api/copy", include_in_schema=False)
async def copy_model() -> Response:
    """Refused: a model has one name."""
    raise NotServed("models aren't copied here; a model has one name, and `name:TYPE` for each of its files")


@router.post("/api/push", include_in_schema=False)
async def push_model() -> Response:
    """Refused: nothing is published."""
    raise NotServed("models aren't published from here; upload the file with: huggingface-cli upload")


@router.get("/api/blobs/{digest}", include_in_schema=False)
@router.post("/api/blobs/{digest}", include_in_schema=False)
async def keep_blob(digest: str) -> Response:  # noqa: ARG001 - the path's
    """Refused: files come from the Hub or the command line."""
    raise NotServed("files aren't uploaded here; pull a model of the Hub, or serve a file with: corral serve")


def _hub_name(told: str | None) -> str:
    """Return the Hub's name of a model that is to be fetched. Raises RequestError."""
    if not told:
        raise RequestError("model is required", param="model", code="missing_required_parameter")
    name = plain_name(told)
    try:
        return hub_name(name)
    except (InvalidReference, RequestError) as error:
        raise RequestError(
            f"{error.message}; models come from the Hugging Face Hub here: name one as org/name or"
            " org/name:TYPE",
            param="model",
        ) from error


async def _lines(first: Progress, progress: AsyncGenerator[Progress, None]) -> AsyncIterator[bytes]:
    async with aclosing(progress):
        yield json.dumps(first).encode() + b"\n"
        async for each in progress:
            yield json.dumps(each).encode() + b"\n"


async def _last(progress: AsyncGenerator[Progress, None]) -> Progress:
    last: Progress = {}
    async with aclosing(progress):
        async for each in progress:
            last = each
    return last
