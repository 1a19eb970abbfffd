"""The error table of the whole application, row by row, over HTTP."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from models.errors import (
    ContextLengthExceeded,
    ModelLoadError,
    RequestError,
    WorkerBusy,
    WorkerDied,
    WorkerError,
)
from server.engine.events import Failure, FailureKind
from tests.server.http_client import CHAT, TEXT, app_for, client_for, error_of
from tests.server.scripted_service import DEMO, ScriptedService

TOO_LONG = (
    "This model's maximum context length is 2048 tokens. However, you requested 3000 tokens "
    "(2900 in the messages, 100 in the completion). Please reduce the length of either one."
)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "kind", "param", "code", "retry"),
    [
        (RequestError("m", "stop", "c"), 400, "invalid_request_error", "stop", "c", None),
        (
            ContextLengthExceeded(TOO_LONG),
            400,
            "invalid_request_error",
            "messages",
            "context_length_exceeded",
            None,
        ),
        (WorkerBusy("m", 2.5), 429, "rate_limit_error", None, "rate_limit_exceeded", "3"),
        (WorkerDied("m"), 503, "server_error", None, "worker_died", "1"),
        (WorkerError("m"), 503, "server_error", None, None, "5"),
        (ModelLoadError("m"), 500, "server_error", None, "model_load_failed", None),
    ],
)
async def test_errors_before_the_first_event(
    error: Exception, status: int, kind: str, param: str, code: str, retry: str | None, stream: bool
) -> None:
    async with client_for(ScriptedService(lambda _: [error])) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
    assert response.status_code == status
    expected = {"message": str(error), "type": kind, "param": param, "code": code}
    assert error_of(response) == expected
    assert response.headers.get("retry-after") == retry


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request", 400),
        ("busy", 429),
        ("server_error", 500),
        ("unavailable", 503),
        ("cancelled", 503),
    ],
)
async def test_failures_as_the_first_event(kind: FailureKind, status: int, stream: bool) -> None:
    failure = Failure(id="x", kind=kind, message="m", retry_after_s=7.0 if status in (429, 503) else None)
    async with client_for(ScriptedService(lambda _: [failure])) as client:
        response = await client.post("/v1/completions", json={**TEXT, "stream": stream})
    assert response.status_code == status
    assert error_of(response)["message"] == "m"
    assert response.headers.get("retry-after") == ("7" if status in (429, 503) else None)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model": "demo", "messages": ', None),
        (b"not json at all", None),
        (b"", None),
        (b"null", None),
        (b"[1, 2]", None),
        (b'{"model": "demo"}', "messages"),
        (b'{"model": 5, "messages": [{"role": "user", "content": "x"}]}', "model"),
        (b'{"model": "demo", "messages": [{"role": "user"}]}', "messages[0].content"),
        (
            b'{"model": "demo", "messages": [{"role": "user", "content": "x"}], "temperature": "hot"}',
            "temperature",
        ),
        (b'{"model": "demo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', "max_tokens"),
        (
            b'{"model": "demo", "messages": [{"role": "user", "content": "x"}], "top_logprobs": 5}',
            "top_logprobs",
        ),
        (
            b'{"model": "demo", "messages": [{"role": "user", "content": "x"}], "stream_options": {}}',
            "stream_options",
        ),
    ],
)
async def test_bad_requests(body: bytes, param: str | None) -> None:
    async with client_for() as client:
        response = await client.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    error = error_of(response)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_unknown_model(path: str) -> None:
    async with client_for() as client:
        response = await client.post(path, json={**CHAT, **TEXT, "model": "org/none:Q8_0"})
    assert response.status_code == 404
    assert error_of(response) == {
        "message": "The model `org/none:Q8_0` does not exist; GET /v1/models lists those that do",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_the_content_type_does_not_matter(content_type: str) -> None:
    async with client_for() as client:
        response = await client.post(
            "/v1/completions", content=b'{"prompt": "x"}', headers={"content-type": content_type}
        )
    assert response.status_code == 200


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_above_the_limit(declared: bool) -> None:
    async def parts() -> Any:
        for _ in range(3):
            yield b"x" * 500

    async with client_for(body_limit_bytes=1000) as client:
        content = b"x" * 1001 if declared else parts()
        response = await client.post("/v1/completions", content=content)
    assert response.status_code == 413
    assert error_of(response)["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "unknown_url"),
        ("POST", "/", 405, "method_not_allowed"),
        ("GET", "/v1/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/chat/completions/", 404, "unknown_url"),
    ],
)
async def test_routes_that_do_not_exist(method: str, path: str, status: int, code: str) -> None:
    async with client_for() as client:
        response = await client.request(method, path)
    assert response.status_code == status
    error = error_of(response)
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/anthropic/v1/messages", "/v1/messages"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/api/models", "/models"),
    ],
)
async def test_a_wrong_base_url_is_told(path: str, meant: str) -> None:
    async with client_for() as client:
        response = await client.get(path)
    assert response.status_code == 404
    assert f"; this server has {meant};" in error_of(response)["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_defect_is_a_500_that_tells_nothing(stream: bool) -> None:
    async with client_for(ScriptedService(lambda _: [RuntimeError("secret detail")])) as client:
        response = await client.post(
            "/v1/completions", json={**TEXT, "stream": stream}, headers={"x-request-id": "mine"}
        )
    assert response.status_code == 500
    error = error_of(response)
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert "secret" not in response.text
    assert "mine" in error["message"]
    assert response.headers["x-request-id"] == "mine"
    assert response.headers["connection"] == "close", "uvicorn closes it"


async def test_unknown_fields_are_ignored_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with client_for() as client:
        for _ in range(2):
            response = await client.post("/v1/chat/completions", json={**CHAT, "wibble": 1})
            assert response.status_code == 200
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["ignored unknown field 'wibble' in /v1/chat/completions"]


async def test_the_openapi_document_and_its_page() -> None:
    async with client_for() as client:
        document = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")
    assert page.status_code == 200
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["$ref"] == "#/components/schemas/ChatCompletionRequest"
    schemas = document["components"]["schemas"]
    assert "temperature" in schemas["ChatCompletionRequest"]["properties"]
    assert _references(document) <= {f"#/components/schemas/{name}" for name in schemas}


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(_references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(_references(value) for value in node))
    return set()


@pytest.mark.parametrize("path", ["/", "/docs", "/health"])
async def test_cors_is_off_by_default(path: str) -> None:
    async with client_for() as client:
        response = await client.get(path, headers={"origin": "http://page"})
    assert "access-control-allow-origin" not in response.headers


async def test_cors_also_covers_refusals() -> None:
    headers = {"origin": "http://page", "access-control-request-method": "POST"}
    async with client_for(cors_origins=("http://page",), api_keys=("k",)) as client:
        preflight = await client.options("/v1/chat/completions", headers=headers)
        refusal = await client.post("/v1/chat/completions", json=CHAT, headers={"origin": "http://page"})
        compressed = {"origin": "http://page", "content-encoding": "gzip"}
        head = await client.post("/v1/chat/completions", json=CHAT, headers=compressed)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "http://page"
    assert (refusal.status_code, head.status_code) == (401, 415)
    for response in (refusal, head):
        assert response.headers["access-control-allow-origin"] == "http://page"


async def test_the_home_page() -> None:
    async with client_for() as client:
        page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "/docs" in page.text


def test_two_applications_share_nothing() -> None:
    first, second = app_for(), app_for(ScriptedService(models=[DEMO]))
    assert first.state.api.warned is not second.state.api.warned
    assert first.state.api.service is not second.state.api.service
