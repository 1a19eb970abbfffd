"""`new_batch`: a request for a batch, checked, as the record that is kept. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.errors import RequestError
from server.batches.records import DAY_S, FILE_S, BatchRecord, new_batch_id, new_file_id
from server.responses.schemas import Metadata

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
"""The routes whose requests may be lines of a batch, where the application has them."""
MOST_WINDOW_S = 30 * DAY_S
_WINDOW = re.compile(r"(\d{1,7})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY_S}


class ExpiresAfter(BaseModel):
    """The time for which the files of the answers are kept."""

    model_config = ConfigDict(strict=True)

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=FILE_S)]


class BatchCreation(BaseModel):
    """The body of `POST /v1/batches`."""

    model_config = ConfigDict(strict=True, extra="allow")  # what is unknown is logged

    input_file_id: Annotated[str, Field(min_length=1)] = Field(
        description="A file of lines, each a request: custom_id, method, url, body."
    )
    endpoint: str = Field(description="The url of all its lines.")
    completion_window: str = Field(description="`24h`, or another time: `90s`, `30m`, `7d`.")
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


def new_batch(body: BatchCreation, owner: str, known_routes: Collection[str]) -> BatchRecord:
    """Return the record of a new batch. Raises RequestError for an endpoint or a time that can't be."""
    endpoints = [endpoint for endpoint in ENDPOINTS if endpoint in known_routes]
    if body.endpoint not in endpoints:
        raise RequestError(
            f"Invalid value for 'endpoint': batches are answered by {', '.join(endpoints)}",
            param="endpoint",
            code="invalid_value",
        )
    now = int(time.time())
    return BatchRecord(
        id=new_batch_id(),
        owner=owner,
        endpoint=body.endpoint,
        input_file=body.input_file_id,
        completion_window=body.completion_window,
        metadata=body.metadata,
        created=now,
        expires=now + window_s(body.completion_window),
        output_s=FILE_S if body.output_expires_after is None else body.output_expires_after.seconds,
        output_file=new_file_id(),
        error_file=new_file_id(),
    )


def window_s(text: str) -> int:
    """Return the seconds of a completion window. Raises RequestError."""
    match = _WINDOW.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= MOST_WINDOW_S:
        raise RequestError(
            "Invalid value for 'completion_window': it must be a time such as '24h', up to '30d'",
            param="completion_window",
            code="invalid_value",
        )
    return seconds
