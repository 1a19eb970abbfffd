"""OpenAI's errors in Anthropic's form: types by status, places, prompts that are too long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import CorralError
from server.anthropic.errors import from_api_error
from server.engine.request import too_long_error
from server.openai import errors
from server.openai.errors import TABLE, ApiError, ErrorBody


def body_of(error: ApiError) -> dict[str, Any]:
    made = from_api_error(error, "req_1")
    body: dict[str, Any] = json.loads(made.json)
    assert body.keys() == {"type", "error", "request_id"}
    assert (body["type"], body["request_id"]) == ("error", "req_1")
    return {"status": made.status, **body["error"]}


@pytest.mark.parametrize(
    ("status", "kind", "shown"),
    [
        (400, "invalid_request_error", 400),
        (401, "authentication_error", 401),
        (403, "permission_error", 403),
        (404, "not_found_error", 404),
        (405, "invalid_request_error", 405),
        (408, "invalid_request_error", 408),
        (413, "request_too_large", 413),
        (415, "invalid_request_error", 415),
        (429, "rate_limit_error", 429),
        (500, "api_error", 500),
        (501, "api_error", 501),
        (503, "overloaded_error", 529),
    ],
)
def test_types_follow_the_status(status: int, kind: str, shown: int) -> None:
    error = ApiError(status=status, body=ErrorBody(message="m", type="t"))
    assert body_of(error) == {"status": shown, "type": kind, "message": "m"}


@pytest.mark.parametrize(("message", "shown"), [("bad 'a.b'", "bad 'a.b'"), ("no image", "a.b: no image")])
def test_the_message_of_a_bad_request_names_its_place(message: str, shown: str) -> None:
    error = ApiError(status=400, body=ErrorBody(message=message, type="t", param="a.b"))
    assert body_of(error)["message"] == shown


@pytest.mark.parametrize(
    ("n_ctx", "n_prompt", "at_least", "shown"),
    [
        (2048, 3000, False, "prompt is too long: 3000 tokens > 2048 maximum"),
        (2048, 2048, False, "prompt is too long: 2048 tokens > 2047 maximum"),
        (64, 90, True, "prompt is too long: at least 90 tokens > 64 maximum"),
    ],
)
def test_a_prompt_that_is_too_long(n_ctx: int, n_prompt: int, at_least: bool, shown: str) -> None:
    error = errors.from_error(too_long_error(n_ctx, n_prompt, 100, "messages", at_least=at_least))
    assert body_of(error)["message"] == shown


@pytest.mark.parametrize("kind", TABLE)
def test_every_error_of_ours_has_a_type(kind: type[CorralError]) -> None:
    row = TABLE[kind]
    error = ApiError(status=row.status, body=ErrorBody(message="m", type=row.type, param=row.param))
    assert body_of(error)["type"].endswith(("_error", "too_large"))
