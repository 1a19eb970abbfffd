"""Presets of a running server: arms by user, figures for each, and a reload under load that loses nothing."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI

from server.config_sources import load_config
from tests.e2e.running import RunningServer
from tests.e2e.test_metrics import figures

pytestmark = pytest.mark.e2e

PRESETS = """
[presets.mix]
system = "You are number {number}."
force = {{ temperature = 0, max_tokens = 4 }}
arms = [
  {{ name = "eight", model = "demo:Q8_0", weight = 75 }},
  {{ name = "four", model = "demo:Q4_K_M", weight = 25 }},
]
"""
N_USERS = 32


@pytest.fixture
def settings(home: Path, demo_server: RunningServer) -> Iterator[Path]:
    """The server's settings file, which is empty again afterwards."""
    path = home / "corral.toml"
    yield path
    path.write_text("")
    assert httpx.post(f"{demo_server.url}/admin/reload", timeout=60).status_code == 200


def write(path: Path, number: int | None) -> None:
    """Replace the file at once, by a good one or, without a number, by a bad one."""
    new = path.with_suffix(".new")
    new.write_text("[presets.mix]\nmodle = 1\n" if number is None else PRESETS.format(number=number))
    new.replace(path)


async def test_a_reload_under_load_loses_no_request_and_each_arm_is_counted(
    demo_server: RunningServer, settings: Path
) -> None:
    write(settings, 0)
    process, is_over = demo_server.process, asyncio.Event()
    async with (
        httpx.AsyncClient(base_url=demo_server.url, timeout=60) as admin,
        AsyncOpenAI(base_url=f"{demo_server.url}/v1", api_key="none", max_retries=0, timeout=120) as client,
    ):
        first = (await admin.post("/admin/reload")).json()
        assert first["parts"] == [{"name": "settings", "changes": ["the preset mix is new"]}]

        async def ask(user: int) -> str:
            stream = await client.chat.completions.create(
                model="mix",
                messages=[{"role": "user", "content": "Hi"}],
                user=f"user {user}",
                stream=True,
            )
            names = {chunk.model async for chunk in stream}
            assert names == {"mix"}
            return "".join(names)

        async def reload() -> int:
            """Reload again and again, by turns a good file, by the signal or the route, and a bad one."""
            number = 0
            while not is_over.is_set():
                number += 1
                if number % 3 == 0:
                    write(settings, number)
                    process.send_signal(signal.SIGHUP)
                    await asyncio.sleep(0.01)
                    continue
                good = number % 3 == 1
                write(settings, number if good else None)
                answer = await admin.post("/admin/reload")
                assert answer.status_code == (200 if good else 400), answer.text
            return number

        reloading = asyncio.create_task(reload())
        for begin in range(0, N_USERS, 8):
            answers = await asyncio.gather(*(ask(user) for user in range(begin, begin + 8)))
            assert len(answers) == 8
        is_over.set()
        assert await reloading > 4
        listed = (await admin.get("/v1/models/mix")).json()
    assert [arm["name"] for arm in listed["arms"]] == ["eight", "four"]
    write(settings, 0)
    preset = load_config({}, {}, settings).presets.presets["mix"]
    expected = Counter(preset.target_of("", f"user {user}", 0.0).arm for user in range(N_USERS))
    for arm, type_ in (("eight", "Q8_0"), ("four", "Q4_K_M")):
        counted = figures(demo_server, model="demo", type=type_, arm=f"mix/{arm}")
        assert counted["corral:e2e_request_latency_seconds_count"] == expected[arm] > 0
