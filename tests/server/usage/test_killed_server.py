"""kill -9 at random moments: whatever answer a client has whole is counted, and nothing twice."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.usage.database import UsageDatabase
from server.usage.entry import UsageEntry
from tests.server.http_client import CHAT

N_KILLS = 20
N_CLIENTS = 12
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


async def ask_on(url: str, tally: Tally, seed: int) -> None:
    """Ask again and again, until the server is gone."""
    chance = random.Random(seed)
    async with httpx.AsyncClient(timeout=30) as client:
        while True:
            try:
                tally.add(*await one_answer(client, url, chance.choice(["whole", "stream", "messages"])))
            except httpx.HTTPError:
                tally.n_cut += 1
                return


async def one_answer(client: httpx.AsyncClient, url: str, form: str) -> tuple[int, int]:
    """Return the prompt's and the answer's tokens of an answer. Raises HTTPError for one that isn't whole."""
    body: dict[str, Any] = dict(CHAT)
    if form == "messages":
        response = await client.post(f"{url}/v1/messages", json={**body, "max_tokens": 50, "stream": True})
        events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
        last = [event for event in events if event["type"] == "message_delta"]
        usage = {**last[0]["usage"]}
        cached = usage.get("cache_read_input_tokens") or 0
        return usage["input_tokens"] + cached, usage["output_tokens"]
    if form == "stream":
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        response = await client.post(f"{url}/v1/chat/completions", json=body)
        lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        usage = json.loads(lines[-2])["usage"]
    else:
        usage = (await client.post(f"{url}/v1/chat/completions", json=body)).json()["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"]


async def killed_server(folder: Path, tally: Tally, seed: int) -> None:
    """Run a server under load, and kill it at some moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        number = listener.fileno()
        process = subprocess.Popen(  # noqa: ASYNC220 - it is there at once
            [sys.executable, "-m", "tests.server.usage.counting_server", str(folder), str(number)],
            cwd=ROOT,
            pass_fds=[number],
        )
    try:
        async with httpx.AsyncClient(timeout=300) as client:
            await client.get(f"{url}/health")  # it waits in the socket's queue until the server is there
        clients = [asyncio.create_task(ask_on(url, tally, seed * 1000 + at)) for at in range(N_CLIENTS)]
        chance, n_before = random.Random(seed), tally.whole[0]
        n_answers, more_s = chance.randint(0, 40), chance.uniform(0.0, 0.03)
        while tally.whole[0] < n_before + n_answers:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(more_s)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    await asyncio.gather(*clients)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_usage_is_the_sum_of_the_answers_after_kills(tmp_path: Path) -> None:
    tally = Tally()
    for seed in range(N_KILLS):
        before = tally.n_cut
        await killed_server(tmp_path, tally, seed)
        database = UsageDatabase(tmp_path / "usage.sqlite")
        total = next(iter(database.totals([])), UsageEntry())
        database.close()
        counted = (total.requests, total.prompt_tokens, total.completion_tokens)
        assert all(have >= got for have, got in zip(counted, tally.whole, strict=True)), (
            counted,
            tally.whole,
        )
        # Of what was on its way, each may have been counted and not have arrived.
        assert counted[0] - tally.whole[0] <= tally.n_cut
        assert tally.n_cut - before <= N_CLIENTS
    assert tally.whole[0] > N_KILLS
