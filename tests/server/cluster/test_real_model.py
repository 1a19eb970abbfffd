"""Answers of a real model whose replica is killed in the middle have the text of an undisturbed run."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from server.cluster.fleet import Fleet
from server.engine.events import Event, Finish
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import TextPrompt
from tests.server.cluster.conftest import StartFleet, StartReplicas
from tests.server.cluster.replica_process import ScriptedCluster
from tests.server.openai.collect import Collector
from tests.server.supervisor.test_supervisor import text_of, until

pytestmark = pytest.mark.model

N_TOKENS = 100


class Load:
    """Twelve answers, half of them greedy, half with a seed, at one time."""

    def __init__(self, fleet: Fleet) -> None:
        self.collectors = [Collector() for _ in range(12)]
        self._tasks = [
            asyncio.create_task(fleet.generate("one", self._request(number)).subscribe(collector))
            for number, collector in enumerate(self.collectors)
        ]

    def _request(self, number: int) -> Generate:
        params = SamplingParams(
            max_tokens=N_TOKENS,
            ignore_eos=True,
            repeat_penalty=1.1,
            temperature=0.9 if number % 2 else 0.0,
            seed=number,
        )
        return Generate(id=f"r{number}", prompt=TextPrompt(f"In the year {1900 + number},"), params=params)

    def n_events(self) -> int:
        return sum(len(collector.events) for collector in self.collectors)

    async def answers(self) -> list[str]:
        await asyncio.gather(*self._tasks)
        for collector in self.collectors:
            end: Event = collector.events[-1]
            assert isinstance(end, Finish)
            assert end.usage.completion_tokens == N_TOKENS
        return [text_of(collector.events) for collector in self.collectors]


async def test_a_killed_replica_changes_no_text(
    mortal: StartReplicas, fleet_over: StartFleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replicas = mortal(2, write_tiny_gguf(tmp_path / "pico.gguf", TinyModel(n_ctx_train=512)))
    fleet = await fleet_over(ScriptedCluster(replicas))
    undisturbed = Load(fleet)
    wanted = await undisturbed.answers()
    disturbed = Load(fleet)
    await until(lambda: disturbed.n_events() > undisturbed.n_events() // 3)
    os.kill(replicas[0].process.pid, signal.SIGKILL)
    assert await disturbed.answers() == wanted
    assert "of its" in caplog.text, "a replica was lost with requests"
