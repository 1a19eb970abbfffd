"""Answers are limited and counted whatever their protocol is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.app import create_app
from server.config import ServerConfig
from server.engine.events import Failure
from server.http.parts import AppParts
from server.ipc.messages import Generate
from server.keys.caller import KeyLimits
from server.keys.key_file import KeyFile
from server.keys.key_ring import KeyRing
from server.usage.accounts import Accounts
from server.usage.entry import UsageEntry
from server.usage.ledger import UsageLedger
from tests.server.http_client import CHAT, TEXT, app_for, error_of, serving
from tests.server.scripted_service import ScriptedService, Step, says

MESSAGES = {**CHAT, "max_tokens": 5}


class Metered:
    """A server that counts, and a client of it with the key `bob`."""

    def __init__(self, folder: Path) -> None:
        self.service = ScriptedService()
        self.file = KeyFile(folder / "keys.json")
        self.ledger = UsageLedger(folder / "usage.sqlite")
        self.keys = KeyRing((), self.file)
        self.app = create_app(
            ServerConfig(), self.service, AppParts(accounts=Accounts(self.keys, self.ledger))
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://corral")

    def add(self, name: str = "bob", **limits: int) -> None:
        """Add a key, and send it with what follows."""
        secret = self.file.add(name, ("infer", "embed", "models", "admin"), ("*",), KeyLimits(**limits))[1]
        self.client.headers["authorization"] = f"Bearer {secret}"

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return await self.client.post(path, json=body)

    async def total(self) -> UsageEntry:
        await self.ledger.flushed()
        [entry] = await self.ledger.totals(["key", "model"])
        return entry


@pytest.fixture
async def metered(tmp_path: Path) -> AsyncIterator[Metered]:
    made = Metered(tmp_path)
    yield made
    made.ledger.close()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/completions", TEXT),
        ("/v1/messages", MESSAGES),
        ("/v1/responses", {"model": "demo", "input": "Hi"}),
        ("/infill", {"model": "demo", "input_prefix": "a", "input_suffix": "b"}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_every_protocol_is_counted_before_its_answer_ends(
    metered: Metered, path: str, body: dict[str, Any], stream: bool
) -> None:
    metered.add()
    response = await metered.post(path, {**body, "stream": stream})
    assert response.status_code == 200
    [entry] = await metered.ledger.totals(["key", "model"])  # without waiting for anything
    assert (entry.key, entry.model, entry.requests, entry.errors) == ("bob", "demo", 1, 0)
    assert (entry.prompt_tokens, entry.cached_tokens, entry.completion_tokens) == (7, 3, 2)
    assert entry.seconds == pytest.approx(0.012)
    assert metered.service.request.owner == metered.keys.named()[0].id


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "demo", "input": ["Hi", "you"]}),
        ("/v1/rerank", {"model": "demo", "query": "a", "documents": ["b"]}),
        ("/embedding", {"model": "demo", "content": "Hi"}),
    ],
)
async def test_vectors_and_scores_are_their_owners(metered: Metered, path: str, body: dict[str, Any]) -> None:
    metered.add(tokens_per_minute=10)
    assert (await metered.post(path, body)).status_code == 200
    [pool] = metered.service.pools
    assert pool.owner
    assert (await metered.total()).prompt_tokens == 7
    assert (await metered.post(path, body)).status_code == 429
    total = await metered.total()
    assert (total.key, total.requests, total.errors, total.prompt_tokens) == ("bob", 2, 1, 7)


async def test_several_prompts_are_one_request(metered: Metered) -> None:
    metered.add()
    await metered.post("/v1/completions", {**TEXT, "prompt": ["a", "b", "c"]})
    entry = await metered.total()
    assert (entry.requests, entry.prompt_tokens, entry.completion_tokens) == (1, 21, 6)


async def test_without_keys_all_are_one_caller(metered: Metered) -> None:
    await metered.post("/v1/chat/completions", CHAT)
    entry = await metered.total()
    assert (entry.owner, entry.key, entry.requests) == ("", "", 1)
    assert metered.service.request.owner == ""
    usage = (await metered.client.get("/v1/usage")).json()["data"]
    assert [each["requests"] for each in usage] == [1]


async def test_a_failure_counts_as_an_error_with_what_had_come(metered: Metered) -> None:
    def script(request: Generate) -> list[Step]:
        good = list(says("a", "b")(request))
        return [*good[:2], Failure(id=request.id, kind="server_error", message="it broke")]

    metered.service.script = script
    metered.add()
    assert (await metered.post("/v1/chat/completions", CHAT)).status_code == 500
    entry = await metered.total()
    assert (entry.requests, entry.errors, entry.prompt_tokens, entry.completion_tokens) == (1, 1, 7, 1)


async def test_a_client_that_goes_has_used_what_was_made(metered: Metered) -> None:
    def script(request: Generate) -> list[Step]:
        good = list(says("a", "b")(request))
        return [*good[:2], 60.0]

    metered.service.script = script
    async with serving(metered.app) as url, httpx.AsyncClient() as client:
        async with client.stream(
            "POST", f"{url}/v1/chat/completions", json={**CHAT, "stream": True}
        ) as stream:
            async for _ in stream.aiter_raw():
                break
        await asyncio.wait_for(metered.service.closing.wait(), 10)
        entry = await metered.total()
    assert (entry.requests, entry.errors, entry.prompt_tokens, entry.completion_tokens) == (1, 0, 7, 1)


async def test_a_request_that_is_refused_uses_nothing(metered: Metered) -> None:
    metered.add()
    assert (await metered.post("/v1/chat/completions", {"model": "demo"})).status_code == 400
    await metered.ledger.flushed()
    assert await metered.ledger.totals() == []


async def test_the_administrators_and_ones_own_usage(metered: Metered) -> None:
    for name in ("bob", "eve", "eve"):
        if name not in [key.name for key in metered.keys.named()]:
            metered.add(name)
        await metered.post("/v1/chat/completions", CHAT)
    everyone = (await metered.client.get("/admin/usage?by=key")).json()["data"]
    assert [(each["key"], each["requests"]) for each in everyone] == [("bob", 1), ("eve", 2)]
    own_answer = await metered.client.get("/v1/usage?by=model")
    assert own_answer.status_code == 200, own_answer.text
    own = own_answer.json()["data"]
    assert [(each["model"], each["requests"]) for each in own] == [("demo", 2)]
    assert (await metered.client.get("/admin/usage?since=1d&by=")).json()["data"][0]["completion_tokens"] == 6
    for wrong in ("by=colour", "since=monday"):
        response = await metered.client.get(f"/admin/usage?{wrong}")
        assert response.status_code == 400
        assert error_of(response)["param"] == wrong.partition("=")[0]
    keys = (await metered.client.get("/admin/keys")).json()["data"]
    assert [key["name"] for key in keys] == ["bob", "eve"]
    assert "sha256" not in json.dumps(keys)


async def test_a_server_that_counts_nothing_says_so() -> None:
    transport = httpx.ASGITransport(app=app_for())
    async with httpx.AsyncClient(transport=transport, base_url="http://corral") as client:
        response = await client.get("/admin/usage")
    assert response.status_code == 400
    assert "usage" in error_of(response)["message"]


# --- limits ------------------------------------------------------------------------------------------------


async def test_requests_per_minute_and_the_headers_of_every_answer(metered: Metered) -> None:
    metered.add(requests_per_minute=2)
    first = await metered.client.get("/v1/models")
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"].endswith("s")
    assert "x-ratelimit-limit-tokens" not in first.headers
    bad = await metered.post("/v1/chat/completions", {"model": "demo"})
    assert (bad.status_code, bad.headers["x-ratelimit-remaining-requests"]) == (400, "0")
    refused = await metered.post("/v1/chat/completions", CHAT)
    assert refused.status_code == 429
    assert error_of(refused)["code"] == "rate_limit_exceeded"
    assert 28 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert metered.service.requests == []


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_per_minute(metered: Metered, stream: bool) -> None:
    metered.add(tokens_per_minute=12)
    asked = {**CHAT, "stream": stream}
    first = await metered.post("/v1/chat/completions", asked)
    assert first.status_code == 200
    assert first.headers["x-ratelimit-limit-tokens"] == "12"
    left = (await metered.client.get("/v1/models")).headers["x-ratelimit-remaining-tokens"]
    assert left == "3"  # of 12, 7 of the prompt and 2 of the answer
    second = await metered.post("/v1/chat/completions", asked)
    assert second.status_code == 429
    assert "7 tokens" in error_of(second)["message"]
    assert 15 <= int(second.headers["retry-after"]) <= 20
    assert (await metered.total()).requests == 2


async def test_a_prompt_above_the_limit_can_never_come_back(metered: Metered) -> None:
    metered.add(tokens_per_minute=6)
    response = await metered.post("/v1/chat/completions", CHAT)
    assert response.status_code == 429
    assert "retry-after" not in response.headers
    assert metered.service.closed == [metered.service.request.id]


async def test_answers_at_the_same_time(metered: Metered) -> None:
    go_on = asyncio.Event()
    metered.service.script = lambda request: [go_on, *says("a")(request)]
    metered.add(streams=2)
    running = [asyncio.create_task(metered.post("/v1/chat/completions", CHAT)) for _ in range(2)]
    await metered.service.reached(2)
    refused = await metered.post("/v1/chat/completions", CHAT)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert (await metered.client.get("/v1/models")).status_code == 200
    go_on.set()
    assert [each.status_code for each in await asyncio.gather(*running)] == [200, 200]
    assert (await metered.post("/v1/chat/completions", CHAT)).status_code == 200


async def test_anthropics_clients_get_their_headers(metered: Metered) -> None:
    metered.add(requests_per_minute=1, tokens_per_minute=100)
    response = await metered.post("/v1/messages", MESSAGES)
    assert response.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert response.headers["anthropic-ratelimit-tokens-remaining"] == "91"
    assert response.headers["anthropic-ratelimit-tokens-reset"].endswith("Z")
    refused = await metered.post("/v1/messages", MESSAGES)
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 55 <= int(refused.headers["retry-after"]) <= 60


async def test_a_removed_key_ends_no_answer_and_begins_none(metered: Metered) -> None:
    go_on = asyncio.Event()
    metered.service.script = lambda request: [*says("a")(request)[:2], go_on, *says("a")(request)[2:]]
    metered.add()
    running = asyncio.create_task(metered.post("/v1/chat/completions", CHAT))
    await metered.service.reached(1)
    metered.file.remove("bob")
    assert (await metered.post("/v1/chat/completions", CHAT)).status_code == 401
    go_on.set()
    assert (await running).status_code == 200
    assert (await metered.total()).key == "bob"
