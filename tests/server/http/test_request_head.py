"""Requests that no route could serve are refused in one place, on every route."""

from __future__ import annotations

import gzip
import json

import pytest

from server.http.request_head import MAX_HEADER_BYTES, MAX_TARGET_BYTES
from tests.server.http_client import CHAT, client_for, error_of

ROUTES = ["/v1/chat/completions", "/v1/completions", "/tokenize", "/admin/adapters", "/nothing"]
BODY = json.dumps(CHAT).encode()


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "coding", ["gzip", "GZIP", "x-gzip", "br", "deflate", "zstd", "gzip, identity", "wat"]
)
async def test_an_encoded_body_is_refused(path: str, coding: str) -> None:
    async with client_for() as client:
        response = await client.post(path, content=gzip.compress(BODY), headers={"content-encoding": coding})
    assert response.status_code == 415
    assert error_of(response)["code"] == "unsupported_encoding"
    assert response.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", "", ",", "identity, identity"])
async def test_one_that_is_not_encoded_is_read(coding: str) -> None:
    async with client_for() as client:
        response = await client.post(
            "/v1/chat/completions", content=BODY, headers={"content-encoding": coding}
        )
        without_body = await client.get("/v1/models", headers={"content-encoding": "gzip"})
    assert (response.status_code, without_body.status_code) == (200, 200)


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "chunked, gzip"])
async def test_an_encoded_transfer_is_refused(coding: str) -> None:
    async with client_for() as client:
        response = await client.post(
            "/v1/chat/completions", content=BODY, headers={"transfer-encoding": coding}
        )
    assert response.status_code == 501


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nothing"])
async def test_what_is_too_long(path: str) -> None:
    async with client_for() as client:
        long_query = await client.get(path, params={"model": "x" * MAX_TARGET_BYTES})
        long_path = await client.get(f"{path}/{'x' * MAX_TARGET_BYTES}")
        headers = await client.get(
            path, headers={f"x-{n}": "y" * 1000 for n in range(MAX_HEADER_BYTES // 1000 + 1)}
        )
    assert (error_of(long_query)["code"], long_query.status_code) == ("url_too_long", 414)
    assert long_path.status_code == 414
    assert (error_of(headers)["code"], headers.status_code) == ("headers_too_long", 431)


@pytest.mark.parametrize(
    "hosts", [["localhost", "localhost"], ["localhost", "evil.example"], ["a b"], ["a@localhost"], ["x:y"]]
)
async def test_a_senseless_host(hosts: list[str]) -> None:
    async with client_for(api_keys=("k",)) as client:
        response = await client.get("/health", headers=[("host", host) for host in hosts])
    assert response.status_code == 400
    assert error_of(response)["code"] == "invalid_http"
