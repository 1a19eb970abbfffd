"""CORS where llama-server is followed: every preflight has an answer, and only some a grant."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.server.http_client import app_for, client_for, serving

NATIVE: dict[str, Any] = {"dialect": "llama-server"}
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "Authorization"}


async def granted(origin: str, **settings: Any) -> str | None:
    async with client_for(**NATIVE, **settings) as client:
        response = await client.options("/completions", headers={"origin": origin, **PREFLIGHT})
    assert response.status_code == 200
    assert "Origin" in response.headers["vary"]
    origin_granted: str | None = response.headers.get("access-control-allow-origin")
    return origin_granted


async def test_with_keys_every_page_may_ask() -> None:
    async with client_for(**NATIVE, api_keys=("k",)) as client:
        response = await client.options("/completion", headers={"origin": "web.example", **PREFLIGHT})
        answer = await client.get("/v1/models", headers={"origin": "web.example"})
    assert response.headers["access-control-allow-origin"] == "web.example"
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["access-control-allow-methods"] == "GET, POST, DELETE, OPTIONS"
    assert response.headers["access-control-allow-headers"] == "*"
    assert answer.status_code == 401  # and needs the key
    assert answer.headers["access-control-allow-origin"] == "web.example"


async def test_names_of_headers_have_llama_servers_case() -> None:
    async with serving(app_for(**NATIVE, api_keys=("k",))) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"OPTIONS /completion HTTP/1.1\r\nHost: x\r\nOrigin: web.example\r\n"
            b"Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n"
        )
        head = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b"\r\nAccess-Control-Allow-Origin: web.example\r\n" in head


async def test_without_keys_no_foreign_page_may() -> None:
    assert await granted("https://web.example") is None
    async with client_for(**NATIVE) as client:
        refused = await client.post("/completion", headers={"origin": "https://web.example"})
    assert refused.status_code == 403


@pytest.mark.parametrize("origin", ["http://localhost", "http://127.0.0.1:3000", "https://[::1]:8080"])
async def test_localhost_means_pages_of_this_machine(origin: str) -> None:
    assert await granted(origin, cors_origins=("localhost",)) == origin
    async with client_for(cors_origins=("localhost",)) as client:  # without the dialect, too
        response = await client.options("/v1/models", headers={"origin": origin, **PREFLIGHT})
        answer = await client.get("/v1/models", headers={"origin": origin})
    assert response.headers["access-control-allow-origin"] == origin
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://notlocalhost", "http://localhost.evil.example", "http://evil.example", "localhost"]
)
async def test_localhost_means_no_other(origin: str) -> None:
    assert await granted(origin, cors_origins=("localhost",)) is None


async def test_tools_are_for_pages_of_this_machine() -> None:
    settings: dict[str, Any] = {"tools": ("read_file",), "api_keys": ("k",)}
    assert await granted("http://localhost:8080", **settings) == "http://localhost:8080"
    assert await granted("https://web.example", **settings) is None
