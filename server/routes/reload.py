"""`POST /admin/reload`: the settings are read again, as at SIGHUP."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from models.errors import RequestError
from server.http.dependencies import api_of

router = APIRouter(tags=["Admin"])


@router.post("/admin/reload")
async def reload(request: Request) -> dict[str, Any]:
    """Read again what may change while the server runs; tells what has changed.

    What can't be read changes nothing, and is a 400 that says why.
    """
    reloads = api_of(request).reloads
    if reloads.is_empty:
        raise RequestError(
            "this server has nothing to read again: start it with --config FILE", code="nothing_to_reload"
        )
    outcomes = await reloads.run()
    failed = [f"{each.name}: nothing was changed: {each.error.public}" for each in outcomes if each.error]
    if failed:
        done = [f"{each.name}: {change}" for each in outcomes for change in each.changes]
        raise RequestError("; ".join([*failed, *done]), code="invalid_settings")
    return {
        "object": "reload",
        "parts": [{"name": each.name, "changes": list(each.changes)} for each in outcomes],
    }
