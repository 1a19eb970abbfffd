"""A real server's figures beside what its clients counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import pytest
from openai import AsyncOpenAI
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running import RunningServer

pytestmark = pytest.mark.e2e


@dataclass
class Counted:
    """What clients saw."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    first_token_s: list[float] = field(default_factory=list)


def figures(server: RunningServer, **labels: str) -> Counter[str]:
    """All samples with these labels, summed by name (and finish reason)."""
    text = httpx.get(f"{server.url}/metrics", timeout=10).text
    sums: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            if labels.items() <= each.labels.items():
                sums[each.name + each.labels.get("finished_reason", "")] += each.value  # type: ignore[assignment]
    return sums


async def ask(client: AsyncOpenAI, number: int, counted: Counted) -> None:
    words = " ".join(f"word{(number * 37 + place) % 101}" for place in range(150))
    begun_s = time.monotonic()
    stream = await client.chat.completions.create(
        model="demo:Q8_0",
        messages=[{"role": "user", "content": words}],
        max_tokens=8 + number,
        stream=True,
        stream_options={"include_usage": True},
    )
    is_first = True
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content and is_first:
            is_first = False
            counted.first_token_s.append(time.monotonic() - begun_s)
        if chunk.choices and (reason := chunk.choices[0].finish_reason):
            counted.ends[reason] += 1
        if chunk.usage is not None:
            counted.prompt += chunk.usage.prompt_tokens
            counted.completion += chunk.usage.completion_tokens
            details = chunk.usage.prompt_tokens_details
            counted.cached += (details.cached_tokens or 0) if details else 0


async def test_sums_are_those_of_the_clients(demo_server: RunningServer) -> None:
    counted = Counted()
    async with AsyncOpenAI(
        base_url=f"{demo_server.url}/v1", api_key="none", max_retries=0, timeout=120
    ) as client:
        await ask(client, 99, Counted())  # opens a connection, imports what the client imports late
        before = figures(demo_server, model="demo", type="Q8_0")
        for number in range(0, 12, 4):
            await asyncio.gather(*(ask(client, number + each, counted) for each in range(4)))
    after = figures(demo_server, model="demo", type="Q8_0")
    after.subtract(before)
    assert after["corral:prompt_tokens_total"] == counted.prompt
    assert after["corral:generation_tokens_total"] == counted.completion
    assert after["llamacpp:tokens_predicted_total"] == counted.completion
    assert after["corral:prefix_cache_hits_total"] == counted.cached
    assert after["llamacpp:prompt_tokens_total"] == counted.prompt - counted.cached
    for reason in ("stop", "length"):
        assert after[f"corral:request_success_total{reason}"] == counted.ends[reason]
    assert after["corral:time_to_first_token_seconds_count"] == len(counted.first_token_s) == 12
    mean_s = after["corral:time_to_first_token_seconds_sum"] / 12
    assert mean_s == pytest.approx(sum(counted.first_token_s) / 12, rel=0.05, abs=0.005)
    assert after["llamacpp:n_decode_total"] > 12
    assert after["corral:step_seconds_count"] == after["llamacpp:n_decode_total"]


def test_slots_of_a_server_with_nothing_to_do(demo_server: RunningServer) -> None:
    slots = httpx.get(f"{demo_server.url}/slots", params={"model": "demo:Q8_0"}).json()
    assert [slot["id"] for slot in slots] == list(range(16))
    assert not any(slot["is_processing"] for slot in slots)
