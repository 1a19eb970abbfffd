"""`GET /admin/usage`: who has used what; `/admin/keys`: the keys; `GET /v1/usage`: one's own usage."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request

from models.errors import ConfigError, RequestError
from server.http.api_keys import caller_of
from server.http.dependencies import api_of
from server.keys.times import read_first_day
from server.usage.entry import GROUPS, UsageEntry, UsageGroup

router = APIRouter(tags=["Usage"])

By = Annotated[str, Query(description="What is summed up by, separated by commas: key, model, day.")]
Since = Annotated[str, Query(description="The first day: a date such as 2026-01-31, or a span such as 7d.")]


@router.get("/admin/usage")
async def all_usage(request: Request, by: By = "key,model,day", since: Since = "") -> dict[str, Any]:
    """Requests and tokens of all keys."""
    return _list(await api_of(request).accounts.usage.totals(_groups(by), _first_day(since)))


@router.get("/v1/usage")
@router.get("/usage", include_in_schema=False)
async def own_usage(request: Request, by: By = "model,day", since: Since = "") -> dict[str, Any]:
    """Requests and tokens of the key that the request comes with; without keys, all of them."""
    owner = caller_of(request.scope).owner
    return _list(await api_of(request).accounts.usage.totals(_groups(by), _first_day(since), owner))


@router.get("/admin/keys")
async def list_keys(request: Request) -> dict[str, Any]:
    """The named keys with their rights and limits; neither the keys nor their hashes."""
    return {"object": "list", "data": [key.description() for key in api_of(request).accounts.keys.named()]}


def _list(entries: list[UsageEntry]) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [{"object": "usage", **msgspec.structs.asdict(entry)} for entry in entries],
    }


def _groups(text: str) -> list[UsageGroup]:
    named = [part.strip() for part in text.split(",") if part.strip()]
    for name in named:
        if name not in GROUPS:
            raise RequestError(f"'by' has {name[:80]!r}; it takes {', '.join(GROUPS)}", "by", "invalid_value")
    return [group for group in GROUPS if group in named]


def _first_day(text: str) -> str:
    if not text:
        return ""
    try:
        return read_first_day(text, time.time(), "since")
    except ConfigError as error:
        raise RequestError(error.message, param="since", code="invalid_value") from error
