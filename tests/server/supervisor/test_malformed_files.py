"""Malformed GGUF files asked for by clients: each a clear error, and the service goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import CorralError
from models.gguf.info import read_gguf_info
from server.engine.events import Failure, Finish
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.model_spec import ModelSpec
from server.ipc.prompts import TokenPrompt
from server.serve_options import ServeOptions
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.event_iterator import iterate
from server.supervisor.policy import Policy
from server.supervisor.supervisor import Supervisor
from tests.malformed_gguf import malformed, write_small_gguf


def spec_of(entry: CatalogueEntry) -> ModelSpec:
    return entry.model_spec(ServeOptions(ctx=256, parallel=2, threads=1))


def entry(name: str, path: Path) -> CatalogueEntry:
    return CatalogueEntry(name=name, path=path, type=None, size_bytes=path.stat().st_size, created=1)


async def outcome(supervisor: Supervisor, name: str) -> str:
    """Return how a request for `name` ended: "finish", or the error's message."""
    request = Generate(id=name, prompt=TokenPrompt((3, 4)), params=SamplingParams(max_tokens=2))
    try:
        async for event in iterate(supervisor.generate(name, request)):
            if isinstance(event, Finish):
                return "finish"
            if isinstance(event, Failure):
                return event.message
    except CorralError as error:
        return error.message
    return "nothing"


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("every", [24, pytest.param(1, marks=pytest.mark.thorough)])
async def test_each_is_refused_and_the_good_model_goes_on(every: int, tmp_path: Path) -> None:
    """All of them take minutes: each gets a worker process of its own."""
    good = write_small_gguf(tmp_path / "good.gguf")
    data = good.read_bytes()
    header_bytes = read_gguf_info(good).tensors[0].offset
    entries = [entry("good", good)]
    for number, (_what, content) in enumerate(malformed(data, header_bytes)):
        if number % every == 0:
            path = tmp_path / f"bad-{number}.gguf"
            path.write_bytes(content)
            entries.append(entry(path.stem, path))
    supervisor = Supervisor(Catalogue(entries), spec_of, policy=Policy(load_wait_s=60.0))
    try:
        assert await outcome(supervisor, "good") == "finish"
        for bad in entries[1:]:
            message = await outcome(supervisor, bad.name)
            assert bad.path.name in message, message
            assert "died" not in message
        assert await outcome(supervisor, "good") == "finish"
        assert len(supervisor.pids) == 1
    finally:
        await supervisor.stop(5.0)
    assert len(entries) > 200 // every
