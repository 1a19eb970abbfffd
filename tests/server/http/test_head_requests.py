from __future__ import annotations

import httpx
import pytest

from tests.server.http_client import app_for, client_for, serving

PATHS = ["/", "/health", "/ready", "/docs", "/openapi.json", "/v1/models", "/v1/models/", "/models",
         "/v1/models/demo", "/v1/models/none", "/tokenizer_info", "/admin/adapters", "/nothing",
         "/v1/chat/completions"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_the_body(path: str) -> None:
    async with client_for() as client:
        get, head = await client.get(path), await client.head(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    different = {"x-request-id", "request-id"}
    assert {k: v for k, v in head.headers.items() if k not in different} == {
        k: v for k, v in get.headers.items() if k not in different
    }


async def test_on_a_socket_the_connection_goes_on() -> None:
    async with serving(app_for()) as url, httpx.AsyncClient(base_url=url) as client:
        for path in PATHS:
            get, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (get.status_code, b"")


async def test_a_key_is_asked_for() -> None:
    async with client_for(api_keys=("k",)) as client:
        assert (await client.head("/v1/models")).status_code == 401
        assert (await client.head("/health")).status_code == 200


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/models", "GET, HEAD, OPTIONS"),
        ("/v1/completions", "OPTIONS, POST"),
        ("/admin/adapters", "GET, HEAD, OPTIONS, POST"),
        ("/admin/adapters/7", "DELETE, GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
    ],
)
async def test_methods_are_told(path: str, methods: str) -> None:
    async with client_for() as client:
        refused, asked = await client.request("TRACE", path), await client.options(path)
        unknown = await client.options("/nothing")
    assert (refused.status_code, refused.headers["allow"]) == (405, methods)
    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, methods, b"")
    assert unknown.status_code == 404
