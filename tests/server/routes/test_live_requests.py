"""The requests that are being answered, over HTTP: seen, counted, and cancelled in whatever protocol."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from server.ipc.messages import Generate
from tests.server.http_client import CHAT, app_for, error_of, events_of, serving
from tests.server.scripted_service import ScriptedService, Step, says


def halting(request: Generate) -> list[Step]:
    return [*says("so", " far")(request)[:3], asyncio.Event()]


async def live(client: httpx.AsyncClient, count: int = 1) -> list[dict[str, Any]]:
    while True:
        found: list[dict[str, Any]] = (await client.get("/admin/requests")).json()["data"]
        if len(found) == count and all(each["completion_tokens"] == 2 for each in found):
            return found
        await asyncio.sleep(0.01)


async def test_a_request_is_seen_while_it_is_answered_and_its_words_are_not() -> None:
    service = ScriptedService(halting)
    async with serving(app_for(service)) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/admin/requests")).json() == {"object": "list", "data": []}
        body = {**CHAT, "messages": [{"role": "user", "content": "my secret"}]}
        sent = asyncio.create_task(
            client.post("/v1/chat/completions", json=body, headers={"x-request-id": "mine"})
        )
        (seen,) = await live(client)
        assert (seen["model"], seen["path"], seen["request_id"]) == ("demo", "/v1/chat/completions", "mine")
        assert (seen["phase"], seen["prompt_tokens"], seen["cached_tokens"]) == ("generating", 7, 3)
        assert "secret" not in json.dumps(seen)
        assert (await client.post("/admin/requests/mine/cancel")).json()["cancelled"] is True
        answer = await sent
        assert answer.status_code == 400  # clients don't send that again by themselves
        assert error_of(answer)["code"] == "cancelled_by_operator"
        assert await live(client, 0) == []
        assert len(service.closed) == 1
        gone = await client.post(f"/admin/requests/{seen['id']}/cancel")
        assert gone.status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/completions", {"model": "demo", "prompt": "Hi"}),
        ("/v1/responses", {"model": "demo", "input": "Hi"}),
        ("/v1/messages", {"model": "demo", "max_tokens": 9, "messages": CHAT["messages"]}),
    ],
)
async def test_a_cancelled_stream_ends_with_an_error(path: str, body: dict[str, Any]) -> None:
    service = ScriptedService(halting)
    async with serving(app_for(service)) as url, httpx.AsyncClient(base_url=url) as client:
        sent = asyncio.create_task(client.post(path, json={**body, "stream": True}))
        (seen,) = await live(client)
        await client.post(f"/admin/requests/{seen['id']}/cancel")
        text = (await sent).text
        assert "cancelled at the server" in text
        assert len(service.closed) == 1


async def test_all_prompts_of_a_request_are_cancelled_by_its_id() -> None:
    service = ScriptedService(halting)
    async with serving(app_for(service)) as url, httpx.AsyncClient(base_url=url) as client:
        body = {"model": "demo", "prompt": ["a", "b", "c"], "stream": True}
        sent = asyncio.create_task(client.post("/v1/completions", json=body, headers={"x-request-id": "all"}))
        await live(client, 3)
        await client.post("/admin/requests/all/cancel")
        events = events_of((await sent).text)
        assert events[-1]["error"]["code"] == "cancelled_by_operator"
        assert await live(client, 0) == []


async def test_a_client_that_goes_leaves_no_record() -> None:
    service = ScriptedService(halting)
    async with serving(app_for(service)) as url, httpx.AsyncClient(base_url=url) as client:
        sent = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await live(client)
        sent.cancel()
        assert await live(client, 0) == []
        await asyncio.wait_for(service.closing.wait(), 30)
