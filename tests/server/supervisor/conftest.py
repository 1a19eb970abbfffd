"""A supervisor over scripted workers: real processes, no model."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.model_spec import ModelSpec
from server.ipc.prompts import TextPrompt
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.policy import Policy
from server.supervisor.supervisor import Supervisor

QUICK = Policy(
    load_wait_s=20.0,
    restart_delay_s=0.05,
    max_restart_delay_s=0.2,
    failed_retry_s=0.4,
    heartbeat_s=0.05,
    look_s=0.05,
    exit_wait_s=1.0,
)

MakeSupervisor = Callable[..., Supervisor]
WriteScript = Callable[..., CatalogueEntry]


def scripted_command(fd: int) -> list[str]:
    return [sys.executable, "-m", "tests.server.supervisor.scripted_worker", "--fd", str(fd)]


def spec_of(entry: CatalogueEntry) -> ModelSpec:
    return ModelSpec(name=entry.name, path=str(entry.path))


def request(text: str, request_id: str = "r") -> Generate:
    return Generate(id=request_id, prompt=TextPrompt(text=text), params=SamplingParams())


@pytest.fixture
def script(tmp_path: Path) -> WriteScript:
    """Write a model's script; its catalogue entry."""

    def write(name: str = "one", type: str = "Q8_0", **settings: Any) -> CatalogueEntry:  # noqa: A002
        path = tmp_path / f"{name.replace('/', '--')}.{type}.json"
        path.write_text(json.dumps(settings))
        return CatalogueEntry(name=name, path=path, type=type, size_bytes=1, created=1)

    return write


@pytest_asyncio.fixture
async def supervise() -> AsyncIterator[MakeSupervisor]:
    """Make supervisors that are ended with the test, whatever happens in it."""
    made: list[Supervisor] = []

    def make(*served: CatalogueEntry, stored: tuple[CatalogueEntry, ...] = (), **options: Any) -> Supervisor:
        options.setdefault("policy", QUICK)
        options.setdefault("command", scripted_command)
        supervisor = Supervisor(Catalogue(served, lambda: stored), spec_of, **options)
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        supervisor.kill()
        await supervisor.stop(0.0)
