"""`/metrics` of a real server against what its clients counted: 240 requests of all kinds.

The worker is a scripted process. For the times to the first token, it and the server read a clock that stands
still unless the worker sets it, so that they are exact on a machine of any speed.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import parser

from server.app import create_app
from server.config import ServerConfig
from server.metrics import origin
from server.supervisor.process import dispatcher
from tests.server.http_client import serving
from tests.server.supervisor.conftest import MakeSupervisor, WriteScript
from tests.server.supervisor.scripted_worker import SharedClock

LABELS = {"model": "one", "type": "Q8_0", "arm": ""}


@dataclass
class Counts:
    """What the clients saw."""

    prompt_tokens: int = 0
    tokens: int = 0
    gaps: int = 0
    choices: int = 0
    answers: int = 0
    first_tokens: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    waits_s: list[float] = field(default_factory=list)

    def take(self, usage: dict[str, int], n: int = 1) -> None:
        """Count an answer of `n` choices, all of them as long."""
        self.prompt_tokens += usage["prompt_tokens"]
        self.tokens += usage["completion_tokens"]
        self.gaps += usage["completion_tokens"] - n
        self.choices += n
        self.answers += 1
        self.first_tokens += 1

    def fail(self, kind: str) -> None:
        self.failures[kind] = self.failures.get(kind, 0) + 1


class Clients:
    """They send requests of each kind, and count."""

    def __init__(self, client: httpx.AsyncClient, clock: SharedClock) -> None:
        self.client = client
        self.clock = clock
        self.counts = Counts()

    async def whole(self, n_tokens: int, n: int = 1) -> None:
        body = {"model": "one", "prompt": f"tokens {n_tokens} 0", "n": n}
        answer = await self.client.post("/v1/completions", json=body)
        assert len(answer.json()["choices"]) == n
        self.counts.take(answer.json()["usage"], n)

    async def streamed(self, n_tokens: int, delay_s: float = 0.0) -> None:
        sent_s, first_s, usage = self.clock.monotonic(), None, None
        async for chunk in self.chunks(f"tokens {n_tokens} {delay_s}"):
            first_s = self.clock.monotonic() if first_s is None else first_s
            usage = chunk["usage"] or usage
        assert first_s is not None
        assert usage is not None
        self.counts.take(usage)
        self.counts.waits_s.append(first_s - sent_s)

    async def gone(self) -> None:
        """Leave after two tokens; the worker has no third one."""
        n_chunks = 0
        chunks = self.chunks("halt 2")
        async for chunk in chunks:
            n_chunks += len(chunk["choices"])
            if n_chunks == 2:
                break
        await chunks.aclose()
        self.counts.prompt_tokens += 3
        self.counts.tokens += 2
        self.counts.gaps += 1
        self.counts.first_tokens += 1
        self.counts.fail("cancelled")

    async def refused(self, prompt: str, status: int, kind: str, *, stream: bool) -> None:
        body = {"model": "one", "prompt": prompt, "stream": stream}
        answer = await self.client.post("/v1/completions", json=body)
        assert answer.status_code == status
        self.counts.fail(kind)

    async def vectors(self, n: int) -> None:
        answer = await self.client.post("/v1/embeddings", json={"model": "one", "input": ["a"] * n})
        usage = answer.json()["usage"]
        self.counts.prompt_tokens += usage["prompt_tokens"]
        self.counts.answers += 1
        self.counts.choices += 1

    async def chunks(self, prompt: str) -> Any:
        body = {"model": "one", "prompt": prompt, "stream": True, "stream_options": {"include_usage": True}}
        async with self.client.stream("POST", "/v1/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line.removeprefix("data: "))


async def figures(client: httpx.AsyncClient) -> dict[tuple[str, str], float]:
    """The values of /metrics by name and the label that isn't one of `LABELS`."""
    text = (await client.get("/metrics")).text
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.items() >= LABELS.items():
                others = [value for name, value in sample.labels.items() if name not in LABELS]
                found[sample.name, "".join(others)] = sample.value
    return found


def quantile(found: dict[tuple[str, str], float], name: str, part: float) -> float:
    """What Prometheus' `histogram_quantile` estimates."""
    buckets = sorted(
        (float(le.replace("+Inf", "inf")), n)
        for (family, le), n in found.items()
        if family == f"{name}_bucket"
    )
    rank, below_s, n_below = part * buckets[-1][1], 0.0, 0.0
    for bound_s, n in buckets:
        if n >= rank:
            return below_s + (bound_s - below_s) * (rank - n_below) / (n - n_below)
        below_s, n_below = bound_s, n
    raise AssertionError


async def test_sums_and_times(
    supervise: MakeSupervisor,
    script: WriteScript,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SharedClock(tmp_path / "clock")
    monkeypatch.setattr(origin, "time", clock)
    monkeypatch.setattr(dispatcher, "time", clock)
    supervisor = supervise(script(clock=str(tmp_path / "clock")))
    supervisor.start()
    await supervisor.wait_ready()
    app = create_app(ServerConfig(), supervisor)
    async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=120.0) as client:
        clients = Clients(client, clock)
        requests = [clients.whole(1 + number % 7) for number in range(40)]
        requests += [clients.streamed(1 + number % 5) for number in range(30)]
        requests += [clients.whole(4, n=3) for _ in range(10)]
        requests += [clients.gone() for _ in range(10)]
        requests += [clients.refused("busy", 429, "busy", stream=bool(i % 2)) for i in range(10)]
        requests += [
            clients.refused("invalid", 400, "invalid_request", stream=bool(i % 2)) for i in range(10)
        ]
        requests += [clients.vectors(1 + number % 3) for number in range(30)]
        random.Random(1).shuffle(requests)
        await asyncio.gather(*requests)
        counts = clients.counts
        while supervisor.n_running:  # noqa: ASYNC110 - the server hears of those that have gone by and by
            await asyncio.sleep(0.01)
        found = await figures(client)
        name = "corral:time_to_first_token_seconds"
        assert found["corral:prompt_tokens_total", ""] == counts.prompt_tokens
        assert found["corral:generation_tokens_total", ""] == counts.tokens
        assert found["corral:inter_token_latency_seconds_count", ""] == counts.gaps
        assert found["corral:request_success_total", "stop"] == counts.choices
        assert found["corral:e2e_request_latency_seconds_count", ""] == counts.answers
        assert found["corral:request_prompt_tokens_sum", ""] == counts.prompt_tokens - 3 * 10
        assert found["corral:request_generation_tokens_sum", ""] == counts.tokens - 2 * 10
        assert found[f"{name}_count", ""] == counts.first_tokens
        for kind in ("busy", "invalid_request", "cancelled"):
            assert found["corral:request_failure_total", kind] == counts.failures[kind] == 10
        for kind in ("server_error", "unavailable"):
            assert found["corral:request_failure_total", kind] == 0

        supervisor.figures.requests.clear()
        counts.waits_s.clear()
        choose = random.Random(2)
        for _ in range(100):
            await clients.streamed(1, choose.lognormvariate(-1.0, 1.0))
        found = await figures(client)
        assert found[f"{name}_count", ""] == len(counts.waits_s) == 100
        mean_s = found[f"{name}_sum", ""] / found[f"{name}_count", ""]
        assert mean_s == pytest.approx(statistics.mean(counts.waits_s), rel=0.05)
        deciles = statistics.quantiles(counts.waits_s, n=10)
        assert quantile(found, name, 0.5) == pytest.approx(deciles[4], rel=0.05)
        assert quantile(found, name, 0.9) == pytest.approx(deciles[8], rel=0.05)
