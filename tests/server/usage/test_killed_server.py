"""kill -9 at random moments: whatever answer a client has whole is counted, and nothing twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.usage.database import UsageDatabase
from server.usage.entry import UsageEntry
from tests.server.batches.killed_server import begin
from tests.server.http_client import CHAT, TEXT
from tests.server.usage.counting_server import N_LINES_AT_ONCE

N_KILLS = 20
N_CLIENTS = 6
ROOT = Path(__file__).parents[3]

Counts = tuple[int, int, int]
"""Requests, prompt tokens, completion tokens."""


@dataclass
class Tally:
    """What the clients have got."""

    whole: Counts = (0, 0, 0)
    n_cut: int = 0
    """The number of requests that were on their way when the server was killed."""

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        n, n_prompt, n_completion = self.whole
        self.whole = (n + 1, n_prompt + prompt_tokens, n_completion + completion_tokens)


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", CHAT),
    "stream": ("/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    "completions": ("/v1/completions", TEXT),
    "messages": ("/v1/messages", {**CHAT, "max_tokens": 50}),
    "messages-stream": ("/v1/messages", {**CHAT, "max_tokens": 50, "stream": True}),
    "responses": ("/v1/responses", {"model": "demo", "input": "Hi"}),
    "embeddings": ("/v1/embeddings", {"model": "demo", "input": "Hi"}),
    "rerank": ("/v1/rerank", {"model": "demo", "query": "a", "documents": ["b", "c"]}),
}


class Servers:
    """Starts servers, each to be killed."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def start(self) -> tuple[int, str]:
        """Return a new server's process and address."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            socket.send_fds(self._control, [b"."], [listener.fileno()])
            return int.from_bytes(self._control.recv(4, socket.MSG_WAITALL), "big"), url


@contextmanager
def servers_of(folder: Path) -> Iterator[Servers]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.server.usage.counting_server", str(folder), str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        try:
            yield Servers(ours)
        finally:
            ours.close()
            assert process.wait(60) == 0


async def ask_on(client: httpx.AsyncClient, url: str, tally: Tally, seed: int) -> None:
    """Ask again and again, until the server is gone."""
    chance = random.Random(seed)
    while True:
        try:
            tally.add(*await one_answer(client, url, chance.choice(list(FORMS))))
        except httpx.HTTPError:
            tally.n_cut += 1
            return


async def one_answer(client: httpx.AsyncClient, url: str, form: str) -> tuple[int, int]:
    """Return the prompt's and the answer's tokens of an answer. Raises HTTPError for one that isn't whole."""
    path, body = FORMS[form]
    response = await client.post(url + path, json=body)
    assert response.status_code == 200, response.text
    if "stream" not in body:
        return tokens(response.json()["usage"])
    data = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    if form == "stream":
        assert data.pop() == "[DONE]"
        return tokens(json.loads(data[-1])["usage"])
    [last] = [event for event in map(json.loads, data) if event["type"] == "message_delta"]
    return tokens(last["usage"])


def tokens(usage: dict[str, Any]) -> tuple[int, int]:
    """Return the prompt's and the answer's tokens, whatever a protocol calls them."""
    if "total_tokens" in usage and "input_tokens" not in usage:
        n_prompt = usage.get("prompt_tokens", usage["total_tokens"])
        return n_prompt, usage["total_tokens"] - n_prompt
    cached = usage.get("cache_read_input_tokens") or 0  # which Anthropic counts beside the others
    return usage["input_tokens"] + cached, usage["output_tokens"]


def with_lines(tally: Tally, folder: Path) -> Counts:
    """Return what the clients have, and what the batch has in its files."""
    whole = Tally(tally.whole)
    for path in (folder / "batches" / "files").iterdir():
        for line in path.read_text().split("\n")[:-1]:
            found = json.loads(line)
            if "response" in found and found["response"]["status_code"] == 200:
                whole.add(*tokens(found["response"]["body"]["usage"]))
    return whole.whole


async def use_and_kill(client: httpx.AsyncClient, servers: Servers, tally: Tally, seed: int) -> None:
    """Run a server under load, and kill it at some moment."""
    pid, url = servers.start()
    try:
        clients = [
            asyncio.create_task(ask_on(client, url, tally, seed * 1000 + at)) for at in range(N_CLIENTS)
        ]
        chance, n_before = random.Random(seed), tally.whole[0]
        n_answers, more_s = chance.randint(0, 15), chance.uniform(0.0, 0.03)
        while tally.whole[0] < n_before + n_answers:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(more_s)
    finally:
        os.kill(pid, signal.SIGKILL)
    await asyncio.gather(*clients)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=120) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_usage_is_the_sum_of_the_answers_after_kills(tmp_path: Path, client: httpx.AsyncClient) -> None:
    tally = Tally()
    (tmp_path / "batches").mkdir()
    await begin(tmp_path / "batches")
    with servers_of(tmp_path) as servers:
        for seed in range(N_KILLS):
            await use_and_kill(client, servers, tally, seed)
            database = UsageDatabase(tmp_path / "usage.sqlite")
            total = next(iter(database.totals([])), UsageEntry())
            database.close()
            counted = (total.requests, total.prompt_tokens, total.completion_tokens)
            got = with_lines(tally, tmp_path)
            assert all(have >= has for have, has in zip(counted, got, strict=True)), (counted, got)
            # Of what was on its way, each may have been counted and not have arrived.
            assert counted[0] - got[0] <= tally.n_cut + N_LINES_AT_ONCE * (seed + 1)
            assert tally.n_cut <= N_CLIENTS * (seed + 1)
    assert tally.whole[0] > N_KILLS
    assert got[0] > tally.whole[0], "no line of the batch was answered"
