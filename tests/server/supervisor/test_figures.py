"""What a supervisor counts of requests and workers; the workers are scripted processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from models.errors import WorkerDied
from server.engine.events import Failure
from server.metrics.figures import RequestFigures
from server.metrics.samples import WorkerSample
from server.supervisor.event_iterator import iterate
from server.supervisor.policy import Policy
from server.supervisor.supervisor import Supervisor
from tests.server.supervisor.conftest import MakeSupervisor, WriteScript, request
from tests.server.supervisor.test_supervisor import Reader, collect, until


def figures_of(supervisor: Supervisor) -> RequestFigures:
    (figures,) = supervisor.figures.requests.values()
    return figures


async def sample_of(supervisor: Supervisor, timeout_s: float = 5.0) -> WorkerSample:
    (sample,) = await supervisor.samples(timeout_s)
    return sample


async def test_requests_and_their_ends(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script())
    supervisor.start()
    begun_s = time.monotonic()
    await collect(supervisor, "one", "tokens 3 0.02", "a")
    await collect(supervisor, "one:Q8_0", "tokens 2 0.02", "b")
    took_s = time.monotonic() - begun_s
    await collect(supervisor, "one", "busy", "c")
    figures = figures_of(supervisor)
    assert list(supervisor.figures.requests) == [("one", "Q8_0", "")]
    assert (figures.prompt_tokens, figures.generated_tokens, figures.computed_tokens) == (6, 5, 6)
    assert (dict(figures.finished), dict(figures.failed)) == ({"stop": 2}, {"busy": 1})
    assert figures.between_tokens_s.n == 3
    assert 0.0 < figures.between_tokens_s.total <= took_s
    assert figures.first_token_s.n == figures.whole_s.n == 2
    assert figures.first_token_s.total <= figures.whole_s.total <= took_s


async def test_a_cancelled_request(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script())
    supervisor.start()
    reader = Reader(supervisor, "one", "tokens 100 0.05")
    await until(reader.has_output)
    sample = await sample_of(supervisor)
    assert (sample.running, sample.waiting) == (1, 0)
    reader.task.cancel()
    await asyncio.gather(reader.task, return_exceptions=True)
    figures = figures_of(supervisor)
    assert dict(figures.failed) == {"cancelled": 1}
    assert figures.generated_tokens >= 1
    assert (await sample_of(supervisor)).running == 0


async def test_a_request_that_nobody_has_begun_waits(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script())
    supervisor.start()
    await supervisor.wait_ready()
    reader = Reader(supervisor, "one", "silent")
    await until(lambda: supervisor.n_running == 1)
    sample = await sample_of(supervisor)
    assert (sample.running, sample.waiting) == (0, 1)
    reader.task.cancel()
    await asyncio.gather(reader.task, return_exceptions=True)


async def test_an_unknown_model_is_no_label(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script())
    for name in ("x", "one:Q2_K", "y" * 100):
        with pytest.raises(Exception, match="does not exist"):
            _ = [event async for event in iterate(supervisor.generate(name, request("tokens 1 0")))]
    assert supervisor.figures.requests == {}


async def test_loads_unloads_and_deaths(supervise: MakeSupervisor, script: WriteScript) -> None:
    policy = Policy(heartbeat_s=0.05, exit_wait_s=1.0, max_loaded=1)
    supervisor = supervise(script(), stored=(script("two"),), policy=policy)
    supervisor.start()
    await supervisor.wait_ready()
    with pytest.raises(WorkerDied):
        await collect(supervisor, "one", "die")
    await collect(supervisor, "one", "tokens 1 0")
    await collect(supervisor, "two", "tokens 1 0")
    samples = {sample.model: sample for sample in await supervisor.samples(5.0)}
    one, two = samples["one"].figures, samples["two"].figures
    assert (one.unloads, two.unloads) == (1, 0)
    assert (one.loads, one.deaths) == (3, 2), "a request is tried on a second worker"
    assert (two.loads, two.deaths) == (1, 0)
    assert (samples["one"].state, samples["two"].state) == ("available", "ready")


async def test_a_death_while_loading(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script(load="die_first"))
    supervisor.start()
    await supervisor.wait_ready()
    figures = (await sample_of(supervisor)).figures
    assert (figures.loads, figures.deaths) == (1, 1)


async def test_a_worker_that_is_stuck_holds_nobody_up(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script())
    supervisor.start()
    await supervisor.wait_ready()
    first = await sample_of(supervisor)
    assert first.answered
    (pid,) = supervisor.pids.values()
    os.kill(pid, signal.SIGSTOP)
    try:
        begun_s = time.monotonic()
        stuck = await sample_of(supervisor, 0.2)
        assert time.monotonic() - begun_s < 2.0
    finally:
        os.kill(pid, signal.SIGCONT)
    assert not stuck.answered
    assert stuck.stats == first.stats
    assert (await sample_of(supervisor)).answered


async def test_a_request_that_dies_with_its_worker(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script())
    supervisor.start()
    reader = Reader(supervisor, "one", "tokens 100 0.05")
    await until(reader.has_output)
    (pid,) = supervisor.pids.values()
    os.kill(pid, signal.SIGKILL)
    end = await reader.end()
    assert isinstance(end, Failure)
    assert dict(figures_of(supervisor).failed) == {end.kind: 1}
    await supervisor.wait_ready()
