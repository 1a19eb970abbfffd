"""`POST /v1/completions`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.http.dependencies import api_of
from server.http.generate import answer
from server.http.native import native_answer
from server.http.openapi import json_body
from server.openai.requests.schemas import CompletionRequest

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/completions", openapi_extra=json_body(CompletionRequest))
@router.post("/completions", include_in_schema=False)
async def create_completion(request: Request) -> Response:
    """Continue one prompt or several, whole or as a stream of server-sent events."""
    api = api_of(request)
    if api.is_native and request.url.path == "/completions":
        return await native_answer(api, request, "native")
    return await answer(api, request, "text")
