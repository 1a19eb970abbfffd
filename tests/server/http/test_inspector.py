"""What is kept of requests, and what never is."""

from __future__ import annotations

from typing import Any

import pytest

from server.http.inspector import BODY_BYTES
from tests.server.http_client import CHAT, client_for, error_of

KEY = "a-key-of-the-server"
HEADERS = {
    "Authorization": f"Bearer {KEY}",
    "Cookie": "session=secret-cookie",
    "X-Whatever": "secret-header",
    "X-Request-Id": "mine",
    "X-Stainless-Lang": "python",
}


async def kept(mode: str, *bodies: Any, path: str = "/v1/chat/completions", **settings: Any) -> Any:
    async with client_for(inspect=mode, api_keys=(KEY,), **settings) as client:
        for body in bodies:
            await client.post(path, json=body, headers=HEADERS)
        return (await client.get("/admin/inspect", headers=HEADERS)).json()


async def test_off_unless_asked() -> None:
    async with client_for() as client:
        answer = await client.get("/admin/inspect")
    assert answer.status_code == 400
    assert "--inspect" in error_of(answer)["message"]


async def test_the_shape_has_no_words_and_no_secrets() -> None:
    answer = await kept("shape", {**CHAT, "messages": [{"role": "user", "content": "confidential"}]})
    (request,) = answer["data"]
    assert answer["mode"] == "shape"
    assert request["body"] == {"model": "demo", "messages": [{"role": "user", "content": "<12 characters>"}]}
    assert (request["status"], request["model"], request["request_id"]) == (200, "demo", "mine")
    assert request["completion_tokens"] == 2
    headers = dict(request["headers"])
    assert headers["authorization"] == headers["cookie"] == headers["x-whatever"] == "***"
    assert headers["x-stainless-lang"] == "python"
    for secret in (KEY, "secret-", "confidential"):
        assert secret not in str(answer)


async def test_the_content_where_it_is_wanted_without_keys() -> None:
    answer = await kept("content", {**CHAT, "messages": [{"role": "user", "content": f"It is {KEY}"}]})
    (request,) = answer["data"]
    assert "It is ***" in request["body"]
    assert KEY not in str(answer)


async def test_the_latest_ones_come_first_and_the_oldest_go() -> None:
    bodies = [{**CHAT, "max_tokens": n} for n in range(1, 5)]
    answer = await kept("shape", *bodies, inspect_count=2)
    assert [request["body"]["max_tokens"] for request in answer["data"]] == [4, 3]


async def test_refused_requests_are_kept_too() -> None:
    answer = await kept("shape", {"model": 3})
    (request,) = answer["data"]
    assert request["status"] == 400


async def test_a_stream_is_kept_when_it_has_ended() -> None:
    answer = await kept("shape", {**CHAT, "stream": True})
    (request,) = answer["data"]
    assert (request["status"], request["completion_tokens"]) == (200, 2)


@pytest.mark.parametrize("mode", ["shape", "content"])
async def test_a_long_body_is_bounded(mode: str) -> None:
    long = "x" * (2 * BODY_BYTES)
    answer = await kept(mode, {**CHAT, "messages": [{"role": "user", "content": long}]})
    (request,) = answer["data"]
    assert request["body_bytes"] > 2 * BODY_BYTES
    assert len(str(request["body"])) <= BODY_BYTES + 1
    assert (long[:100] in str(request["body"])) is (mode == "content")


async def test_what_is_no_json() -> None:
    async with client_for(inspect="shape") as client:
        await client.post("/v1/completions?api-key=secret&a=1", content=b'{"a": secret')
        await client.get("/health")
        (request,) = (await client.get("/admin/inspect")).json()["data"]
    assert request["body"] == "<12 bytes that are no JSON>"
    assert request["query"] == ["a", "api-key"]
    assert "secret" not in str(request)
