from __future__ import annotations

import pytest

from tests.server.http_client import CHAT, client_for, error_of

KEYS = ("first-key", "second-key")


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer first-key"},
        {"authorization": "bearer second-key"},
        {"x-api-key": "second-key"},
        {"api-key": "second-key"},
        {"authorization": "Bearer  first-key "},
        {"authorization": "Bearer placeholder", "x-api-key": "second-key"},
        {"authorization": "Bearer first-key", "x-api-key": "placeholder"},
        {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": "first-key"},
        {"authorization": "", "x-api-key": "", "api-key": "first-key"},
        [("authorization", "Bearer placeholder"), ("authorization", "Bearer first-key")],
        [("authorization", "Bearer first-key"), ("authorization", "Bearer placeholder")],
        [("x-api-key", "placeholder"), ("x-api-key", "second-key")],
    ],
)
async def test_a_known_key_passes(headers: dict[str, str] | list[tuple[str, str]]) -> None:
    async with client_for(api_keys=KEYS) as client:
        response = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": "Bearer first-ke"},
        {"authorization": "Bearer first-key2"},
        {"authorization": "Basic first-key"},
        {"authorization": "first-key"},
        {"x-api-key": ""},
        {"x-api-key": "third"},
        {"authorization": "Bearer third", "x-api-key": "fourth", "api-key": "first-ke"},
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/models", "/models/demo", "/tokenize", "/nothing", "/v1/chat/completions"]
)
async def test_no_or_another_key(path: str, headers: dict[str, str]) -> None:
    async with client_for(api_keys=KEYS) as client:
        response = await client.get(path, headers=headers)
    assert response.status_code == 401
    error = error_of(response)
    assert (error["type"], error["param"], error["code"]) == (
        "invalid_request_error",
        None,
        "invalid_api_key",
    )
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/health", "/ready", "/", "/docs", "/openapi.json"])
async def test_open_paths(path: str) -> None:
    async with client_for(api_keys=KEYS) as client:
        assert (await client.get(path)).status_code == 200


async def test_no_keys_set_none_asked_for() -> None:
    async with client_for() as client:
        response = await client.get("/v1/models", headers={"authorization": "Bearer anything"})
    assert response.status_code == 200
