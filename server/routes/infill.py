"""`POST /infill`, llama-server's: editors have the text at the cursor filled in."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.http.dependencies import api_of
from server.http.infill import fill_in
from server.http.openapi import json_body
from server.openai.requests.schemas import InfillRequest

router = APIRouter(tags=["OpenAI"])


@router.post("/infill", openapi_extra=json_body(InfillRequest))
async def create_infill(request: Request) -> Response:
    """Fill the gap between a prefix and a suffix, whole or as a stream of server-sent events."""
    return await fill_in(api_of(request), request)
