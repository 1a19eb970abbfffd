"""`error_response`: an error as the response that every route and every middleware answers with."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from server.openai.errors import ApiError


def error_response(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the error in OpenAI's form, with its own headers and those given."""
    return Response(error.json(), error.status, {**error.headers(), **(headers or {})}, "application/json")
