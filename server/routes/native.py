"""`POST /completion` and `/infill`, llama-server's own."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.http.dependencies import api_of
from server.http.native import native_answer
from server.http.openapi import json_body
from server.llama_server.schemas import InfillRequest, NativeCompletionRequest

router = APIRouter(tags=["llama-server"])


@router.post("/completion", openapi_extra=json_body(NativeCompletionRequest))
async def create_native_completion(request: Request) -> Response:
    """Continue one prompt or several in llama-server's form, whole or as server-sent events."""
    return await native_answer(api_of(request), request, "native")


@router.post("/infill", openapi_extra=json_body(InfillRequest))
async def create_infill(request: Request) -> Response:
    """Fill the gap between a prefix and a suffix, whole or as a stream of server-sent events."""
    return await native_answer(api_of(request), request, "infill")
