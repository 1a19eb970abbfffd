"""`read`: a request's body, within a limit and whatever its content type says, as a schema."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from server.openai import errors

Schema = TypeVar("Schema", bound=BaseModel)


async def read(request: Request, schema: type[Schema], limit_bytes: int) -> Schema:
    """Return the body as a `schema`. Raises BodyTooLarge, and RequestError naming the field that is wrong."""
    body = await _bytes(request, limit_bytes)
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise errors.invalid(error) from error


async def _bytes(request: Request, limit_bytes: int) -> bytes:
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
    return b"".join(parts)


def _too_large(n_bytes: int, limit_bytes: int) -> errors.BodyTooLarge:
    return errors.BodyTooLarge(
        f"The request's body has {n_bytes:,} bytes or more; the limit is {limit_bytes:,}; shorten it",
        code="request_too_large",
    )
