"""`GET /admin/inspect`: the latest requests, where the server was started to keep them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from models.errors import RequestError
from server.http.dependencies import api_of

router = APIRouter(tags=["Admin"])


@router.get("/admin/inspect")
async def inspect(request: Request) -> dict[str, Any]:
    """The latest requests, the last one first: heads and bodies, without secrets."""
    inspections = api_of(request).inspections
    if inspections is None:
        raise RequestError(
            "this server keeps no requests; start it with --inspect shape, or --inspect content",
            code="unsupported",
        )
    return {"object": "list", "mode": inspections.mode, "data": list(reversed(inspections.kept))}
