"""`/admin/requests`: the requests that are being answered, and their cancelling."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from models.errors import NotKept
from server.http.dependencies import api_of

router = APIRouter(tags=["Admin"])


@router.get("/admin/requests")
async def list_requests(request: Request) -> dict[str, Any]:
    """The requests that generate now, of all protocols, the oldest first; never what they say."""
    return {"object": "list", "data": [live.body() for live in api_of(request).live.list()]}


@router.post("/admin/requests/{request_id}/cancel")
async def cancel_request(request: Request, request_id: str) -> dict[str, Any]:
    """End a request, by its own id or its `X-Request-Id`. Its client gets an error of the code
    `cancelled_by_operator`, and what was generated before."""
    if not api_of(request).live.cancel(request_id):
        raise NotKept(f"No request with id '{request_id[:128]}' is being answered")
    return {"id": request_id, "object": "request", "cancelled": True}
