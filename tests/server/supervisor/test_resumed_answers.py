"""Answers go on when their worker dies: real processes that speak the protocol, without a model."""

from __future__ import annotations

import asyncio
import os
import signal

import msgspec
import pytest

from server.engine.events import ChoiceEnd, Delta, Failure, Finish, Started
from server.engine.resumption import Beginning, ChoiceSoFar, Resumption, packed
from server.metrics.families import request_families
from server.supervisor.supervisor import Supervisor
from tests.server.openai.collect import Collector
from tests.server.supervisor.conftest import MakeSupervisor, WriteScript, request
from tests.server.supervisor.test_supervisor import Reader, collect, text_of, until

WHOLE = "".join(f"{number} " for number in range(40))


async def ready(supervisor: Supervisor) -> Supervisor:
    supervisor.start()
    await supervisor.wait_ready()
    return supervisor


def kill(supervisor: Supervisor) -> None:
    os.kill(supervisor.pids["one:Q8_0"], signal.SIGKILL)


async def test_clients_of_a_killed_worker_see_a_pause(
    supervise: MakeSupervisor, script: WriteScript, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = await ready(supervise(entry := script()))
    readers = [Reader(supervisor, "one", "going 40 0.02", f"r{number}") for number in range(6)]
    old = Reader(supervisor, "one", "tokens 500 0.02", "old")
    await until(lambda: all(reader.has_output() for reader in (*readers, old)))
    kill(supervisor)
    for reader in readers:
        end = await reader.end()
        assert isinstance(end, Finish)
        assert text_of(reader.events) == WHOLE
        assert [type(event) for event in reader.events if not isinstance(event, Delta)] == [
            Started,
            ChoiceEnd,
            Finish,
        ]
        usage = end.usage
        assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (3, 1, 40)
        assert (end.timings.prompt_n, end.timings.predicted_n) == (2, 40)
        assert end.timings.predicted_ms > 40 * 20
    assert isinstance(await old.end(), Failure)
    assert "one: 6 of 7 answers go on in the next worker" in caplog.text
    notes = entry.path.with_name(f"{entry.path.name}.adapters").read_text().splitlines()
    assert sum(line.startswith("begin") and not line.endswith(" 0") for line in notes) == 6
    families = {family.name: family for family in request_families(supervisor.figures.requests)}
    counted = {name: sum(sample.value for sample in families[name].samples) for name in families}
    assert counted["corral:answers_resumed"] == 6
    assert counted["corral:prompt_tokens"] == 6 * 3 + 3
    success = families["corral:request_success"].samples
    assert sum(sample.value for sample in success if sample.labels["finished_reason"] == "stop") == 6


async def test_an_answer_that_had_begun_elsewhere_goes_on_twice(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = await ready(supervise(entry := script()))
    beginning = Beginning(prompt=packed([1, 2, 3]), seed=1, has_replay=True)
    so_far = ChoiceSoFar(index=0, tokens=packed(range(5)), n_characters=10)
    resumption = Resumption(beginning=beginning, choices=(so_far,), first_token_age_s=0.1)
    asked = msgspec.structs.replace(request("going 40 0.02"), resumption=resumption)
    collector = Collector()
    running = asyncio.create_task(supervisor.generate("one", asked).subscribe(collector))
    await until(lambda: len(collector.events) > 3)
    kill(supervisor)
    await running
    assert isinstance(collector.events[-1], Finish)
    assert text_of(collector.events) == WHOLE[10:]
    path = entry.path.with_name(f"{entry.path.name}.adapters")
    began = [int(line.split()[-1]) for line in path.read_text().splitlines() if line.startswith("begin")]
    assert began[0] == 5
    assert began[1] > 5
    alone = supervisor.relay("one", msgspec.structs.replace(asked, id="s"))
    collector = Collector()
    running = asyncio.create_task(alone.subscribe(collector))
    await until(lambda: len(collector.events) > 3)
    kill(supervisor)
    await running
    end = collector.events[-1]
    assert isinstance(end, Failure)
    assert end.code == "worker_died"


async def test_a_request_that_kills_its_workers_ends_with_the_second(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = await ready(supervise(script()))
    killer = Reader(supervisor, "one", "fatal 3 0.01")
    end = await killer.end()
    assert isinstance(end, Failure)
    assert (end.kind, end.code) == ("server_error", "worker_died")
    assert "in the middle of this answer" in end.message
    assert text_of(killer.events) == "0 1 2 "
    assert sum(isinstance(event, Failure | Finish) for event in killer.events) == 1
    assert text_of(await collect(supervisor, "one", "going 2 0")) == "0 1 "


async def test_an_answer_goes_on_when_its_worker_tells_its_end(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = await ready(supervise(script()))
    reader = Reader(supervisor, "one", "broken 40 0")
    assert isinstance(await reader.end(), Finish)
    assert text_of(reader.events) == WHOLE


async def test_a_worker_that_can_not_go_on_tells_the_death_of_the_one_before(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = await ready(supervise(script()))
    reader = Reader(supervisor, "one", "alien 3 0.01")
    end = await reader.end()
    assert isinstance(end, Failure)
    assert (end.kind, end.code) == ("server_error", "worker_died")
    assert text_of(reader.events) == "0 1 2 "


async def test_an_answer_without_a_next_worker_ends_with_the_death(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = await ready(supervise(entry := script()))
    reader = Reader(supervisor, "one", "going 400 0.02")
    await until(reader.has_output)
    entry.path.write_text('{"load": "refuse"}')
    kill(supervisor)
    end = await reader.end()
    assert isinstance(end, Failure)
    assert (end.kind, end.code) == ("server_error", "worker_died")


async def test_a_server_that_stops_takes_no_answer_to_another_worker(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = await ready(supervise(script()))
    reader = Reader(supervisor, "one", "going 400 0.02")
    await until(reader.has_output)
    await supervisor.stop(0.0)
    end = await reader.end()
    assert isinstance(end, Failure)
    assert end.code == "worker_died"
    assert not supervisor.pids


async def test_a_client_may_go_while_its_answer_waits(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = await ready(supervise(entry := script()))
    reader = Reader(supervisor, "one", "going 400 0.02")
    await until(reader.has_output)
    entry.path.write_text('{"load_s": 0.5}')
    pid = supervisor.pids["one:Q8_0"]
    kill(supervisor)
    await until(lambda: supervisor.pids.get("one:Q8_0", pid) == pid and not supervisor.ready())
    reader.task.cancel()
    await asyncio.gather(reader.task, return_exceptions=True)
    assert supervisor.n_running == 0
    await until(supervisor.ready)
    assert text_of(await collect(supervisor, "one", "going 1 0")) == "0 "


async def test_a_worker_that_follows_a_death_has_the_findings_of_the_first(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    """It need not measure what its requests would wait for; one that follows an unload measures anew."""
    supervisor = await ready(supervise(script()))

    def measurer() -> int:
        info = supervisor.find("one").info
        assert info is not None
        assert info.findings is not None
        return info.findings.step_times[0][0]

    first = supervisor.pids["one:Q8_0"]
    assert measurer() == first
    kill(supervisor)
    await until(lambda: supervisor.pids.get("one:Q8_0", first) != first and supervisor.ready())
    await collect(supervisor, "one", "tokens 1 0")
    assert supervisor.pids["one:Q8_0"] != first
    assert measurer() == first
    host = supervisor.host("one")
    await host.unload()
    await collect(supervisor, "one", "tokens 1 0")
    assert measurer() == supervisor.pids["one:Q8_0"]
