"""Clients of HTTP/1.0 get answers without chunks, which end with the connection."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from tests.server.http_client import CHAT, TEXT, app_for, events_of, serving
from tests.server.scripted_service import ScriptedService, says


async def exchange(url: str, head: str, body: bytes = b"") -> tuple[bytes, bytes]:
    """Send a request; return head and body of all that comes until the server closes the connection."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    answer_head, _, answer_body = answer.partition(b"\r\n\r\n")
    return answer_head.lower(), answer_body


@pytest.mark.parametrize("host", ["", "\r\nHost: x"])
@pytest.mark.parametrize(
    "connection",
    [
        "",
        "\r\nConnection: keep-alive",
        "\r\nConnection: close",
        "\r\nConnection: upgrade\r\nUpgrade: websocket",
        "\r\nExpect: 100-continue",
    ],
)
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/completions", {**TEXT, "prompt": ["a", "b"]})]
)
async def test_a_stream(path: str, body: dict[str, object], connection: str, host: str) -> None:
    asked = json.dumps({**body, "stream": True}).encode()
    async with serving(app_for(ScriptedService(says("Hel", "lo", "", "!")))) as url:
        head, answer = await exchange(url, f"POST {path} HTTP/1.0{host}{connection}", asked)
        _, chunked = await exchange(url, f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close", asked)
    assert head.startswith(b"http/1.1 200")
    assert b"transfer-encoding" not in head
    assert b"content-length" not in head
    assert b"connection: close" in head
    assert len(events_of(answer.decode())) == chunked.count(b"data: ")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/health", "/v1/models", "/docs", "/nothing"])
async def test_a_whole_answer(method: str, path: str) -> None:
    async with serving(app_for()) as url:
        head, answer = await exchange(url, f"{method} {path} HTTP/1.0")
    length = int(head.partition(b"content-length: ")[2].split()[0])
    assert b"transfer-encoding" not in head
    assert len(answer) == (length if method == "GET" else 0)
