"""`read` and `read_small`: a request's body, within its limits and whatever its content type says."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from server.http.body_processes import BodyProcesses
from server.openai import errors
from server.openai.requests import reading
from server.openai.requests.body_limits import INLINE_BYTES, check_structure, is_small
from server.openai.requests.reading import ReadJob, ReadRequest, kept_parts

Schema = TypeVar("Schema", bound=BaseModel)


async def read(request: Request, job: ReadJob, limit_bytes: int, processes: BodyProcesses) -> ReadRequest:
    """Return what the body requests, read here if it is small and in a process if it isn't.

    Raises BodyTooLarge, and RequestError naming the field that is wrong.
    """
    return await read_parts(await body_parts(request, limit_bytes), job, processes)


async def read_parts(parts: list[bytes], job: ReadJob, processes: BodyProcesses) -> ReadRequest:
    """Return what a body's parts request. Raises as `read`; `parts` may be empty afterwards."""
    if is_small([*parts, *kept_parts(job)]):
        return reading.read(job, b"".join(parts))
    return await processes.read(job, parts)


async def read_small(request: Request, schema: type[Schema], limit_bytes: int) -> Schema:
    """Return the body of a route whose requests are short as a `schema`. Raises as `read`."""
    limit_bytes = min(limit_bytes, INLINE_BYTES)
    parts = await body_parts(request, limit_bytes)
    if not is_small(parts):
        raise errors.BodyTooLarge(
            "the request's body has too many values for this route; send less at once",
            code="too_many_elements",
        )
    body = b"".join(parts)
    check_structure(body)
    return reading.parse(body, schema)


async def body_parts(request: Request, limit_bytes: int) -> list[bytes]:
    """Return the body in the parts in which it came: it is never copied as a whole here.

    Raises BodyTooLarge.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(int(declared), limit_bytes)
    parts: list[bytes] = []
    n_bytes = 0
    async for part in request.stream():
        n_bytes += len(part)
        if n_bytes > limit_bytes:
            raise _too_large(n_bytes, limit_bytes)
        parts.append(part)
    return parts


def _too_large(n_bytes: int, limit_bytes: int) -> errors.BodyTooLarge:
    return errors.BodyTooLarge(
        f"The request's body has {n_bytes:,} bytes or more; the limit is {limit_bytes:,}; shorten it",
        code="request_too_large",
    )
