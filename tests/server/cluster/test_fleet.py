"""A fleet of real replica processes, with scripted workers: what clients see of deaths, and else."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import httpx
import pytest

from models.errors import ModelLoadError, ModelNotFound, NotServed, RequestError, WorkerError
from server.app import create_app
from server.cluster.fleet import Fleet, FleetPolicy
from server.config import ServerConfig
from server.engine.events import ChoiceEnd, Delta, Failure, Finish, Started
from server.ipc.messages import (
    ApplyTemplate,
    ApplyTemplateReply,
    ChangeSlot,
    ChangeSlotReply,
    Pool,
    Tokenize,
    TokenizeReply,
)
from server.ipc.prompts import ChatPrompt, PooledInputs
from server.metrics.families import request_families
from tests.server.cluster.conftest import StartFleet, StartReplicas, cancelled, notes_of
from tests.server.cluster.replica_process import MAX_ONGOING, ReplicaProcess, ScriptedCluster
from tests.server.openai.collect import collect
from tests.server.supervisor.conftest import request
from tests.server.supervisor.test_supervisor import until

WHOLE = "".join(f"{number} " for number in range(40))


class Reader:
    """A client's answer, as it comes, and the longest time for which nothing came."""

    def __init__(self, fleet: Fleet, text: str, request_id: str = "r") -> None:
        self.events: list[object] = []
        self.pause_s = 0.0
        self._last_s = time.monotonic()
        self.task = asyncio.create_task(fleet.generate("one", request(text, request_id)).subscribe(self))

    def on_event(self, event: object) -> None:
        now_s = time.monotonic()
        self.pause_s, self._last_s = max(self.pause_s, now_s - self._last_s), now_s
        self.events.append(event)

    async def drained(self) -> None:
        return

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Delta))

    def has_output(self) -> bool:
        return any(isinstance(event, Delta) for event in self.events)

    async def end(self) -> Finish | Failure:
        await self.task
        end = self.events[-1]
        assert isinstance(end, Finish | Failure)
        return end


async def started(fleet: Fleet, n: int) -> list[Reader]:
    """So many answers that have begun, each on its place of the ring."""
    readers = [Reader(fleet, f"going 40 0.0{2 + number % 3}", f"r{number}") for number in range(n)]
    await until(lambda: all(reader.has_output() for reader in readers))
    return readers


async def are_whole(readers: list[Reader]) -> None:
    for number, reader in enumerate(readers):
        end = await reader.end()
        assert isinstance(end, Finish)
        assert reader.text == WHOLE
        others = [event for event in reader.events if not isinstance(event, Delta)]
        assert [type(event) for event in others] == [Started, ChoiceEnd, Finish]
        assert all(event.id == f"r{number}" for event in reader.events)  # type: ignore[attr-defined]
        assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (3, 40)


@pytest.mark.parametrize("victim", ["replica", "worker", "silent replica"])
async def test_clients_of_what_dies_see_a_pause(
    mortal: StartReplicas, fleet_over: StartFleet, victim: str
) -> None:
    first, _ = replicas = mortal(2)
    fleet = await fleet_over(ScriptedCluster(replicas))
    readers = await started(fleet, 9)
    if victim == "worker":
        os.kill(first.worker_pid(), signal.SIGKILL)
    else:
        os.kill(first.process.pid, signal.SIGKILL if victim == "replica" else signal.SIGSTOP)
    await are_whole(readers)
    assert max(reader.pause_s for reader in readers) < 5.0
    n_resumed = sum(line.startswith("begin") and not line.endswith(" 0") for line in notes_of(first))
    assert 0 < n_resumed < len(readers), "both have had requests, and one of them has died"
    families = {family.name: family for family in request_families(fleet.figures.requests)}
    assert sum(sample.value for sample in families["corral:answers_resumed"].samples) == n_resumed
    if victim == "silent replica":
        os.kill(first.process.pid, signal.SIGCONT)
        again = Reader(fleet, "going 40 0")
        assert isinstance(await again.end(), Finish)
        assert again.text == WHOLE
    assert fleet.n_running == 0


async def test_requests_that_begin_alike_go_to_one_replica_and_elsewhere_if_it_is_silent(
    mortal: StartReplicas, fleet_over: StartFleet
) -> None:
    fleet = await fleet_over(ScriptedCluster(replicas := mortal(2)))
    places = set()
    for _ in range(3):
        reader = Reader(fleet, "going 40 0.005")
        await until(reader.has_output)
        places |= {peer.hello.replica for peer in fleet._table.roster if peer.runs}
        assert isinstance(await reader.end(), Finish)
    assert len(places) == 1
    for replica in replicas:
        os.kill(replica.process.pid, signal.SIGSTOP)
        again = Reader(fleet, "going 40 0.005")
        assert isinstance(await again.end(), Finish)
        os.kill(replica.process.pid, signal.SIGCONT)
        await until(lambda: len(list(fleet._table.roster)) == len(replicas))


async def test_a_replica_that_ends_finishes_what_it_has_and_takes_no_more(
    mortal: StartReplicas, fleet_over: StartFleet
) -> None:
    first, other = replicas = mortal(2)
    fleet = await fleet_over(ScriptedCluster(replicas))
    readers = await started(fleet, 9)
    first.process.send_signal(signal.SIGTERM)
    await until(lambda: any(peer.beat.is_draining for peer in fleet._table.roster))
    more = await started(fleet, 4)
    await are_whole(readers)
    await are_whole(more)
    assert not any(line.startswith("begin") and not line.endswith(" 0") for line in notes_of(first))
    assert first.process.wait(10) == 0
    assert other.alive
    assert isinstance((await collect(fleet.generate("one", request("going 1 0"))))[-1], Finish)


async def test_requests_beyond_all_places_wait_for_one(
    lasting: list[ReplicaProcess], fleet_over: StartFleet
) -> None:
    fleets = [await fleet_over(ScriptedCluster(lasting)) for _ in range(2)]
    n_places = MAX_ONGOING * len(lasting)
    readers = [Reader(fleets[0], "going 40 0.01", f"r{number}") for number in range(n_places)]
    await until(lambda: all(reader.has_output() for reader in readers))
    late = [Reader(fleet, "going 40 0", f"r{number}") for number, fleet in enumerate(fleets)]
    await asyncio.sleep(0.1)
    assert not any(reader.events for reader in late), "the replicas have declined them"
    await are_whole(readers)
    await are_whole(late)


async def test_a_request_that_kills_its_workers_ends(mortal: StartReplicas, fleet_over: StartFleet) -> None:
    fleet = await fleet_over(ScriptedCluster(mortal(1)))
    reader = Reader(fleet, "fatal 3 0.01")
    end = await reader.end()
    assert isinstance(end, Failure)
    assert (end.kind, end.code, reader.text) == ("server_error", "worker_died", "0 1 2 ")
    assert isinstance((await collect(fleet.generate("one", request("going 1 0"))))[-1], Finish)


async def test_a_client_that_goes_cancels_its_request(
    lasting: list[ReplicaProcess], fleet_over: StartFleet
) -> None:
    fleet = await fleet_over(ScriptedCluster(lasting))
    cancelled(lasting[0]).unlink(missing_ok=True)
    reader = Reader(fleet, "tokens 500 0.02")
    await until(reader.has_output)
    reader.task.cancel()
    await until(cancelled(lasting[0]).exists)
    assert fleet.n_running == 0


async def test_an_api_process_that_goes_takes_its_requests_with_it(
    lasting: list[ReplicaProcess], fleet_over: StartFleet
) -> None:
    fleet = await fleet_over(ScriptedCluster(lasting))
    cancelled(lasting[0]).unlink(missing_ok=True)
    reader = Reader(fleet, "tokens 500 0.02")
    await until(reader.has_output)
    await fleet.stop(0.0)
    end = await reader.end()
    assert isinstance(end, Failure)
    assert "shutting down" in end.message
    await until(cancelled(lasting[0]).exists)
    with pytest.raises(WorkerError, match="shutting down"):
        await collect(fleet.generate("one", request("going 1 0")))


async def test_an_api_process_waits_for_what_runs(
    lasting: list[ReplicaProcess], fleet_over: StartFleet
) -> None:
    fleet = await fleet_over(ScriptedCluster(lasting))
    reader = Reader(fleet, "going 40 0.01")
    await until(reader.has_output)
    await fleet.stop(10.0)
    assert isinstance(await reader.end(), Finish)


async def test_what_a_replica_says_of_a_request_reaches_the_client(
    lasting: list[ReplicaProcess], fleet_over: StartFleet
) -> None:
    fleet = await fleet_over(ScriptedCluster(lasting))
    for text, kind in (("busy", "busy"), ("invalid", "invalid_request")):
        (failure,) = await collect(fleet.generate("one", request(text)))
        assert isinstance(failure, Failure)
        assert (failure.id, failure.kind) == ("r", kind)
    pool = Pool(id="p", inputs=PooledInputs(("a", "b")))
    assert isinstance((await collect(fleet.generate("one", pool)))[-1], Finish)
    for name in ("one", "one:Q8_0", "ones"):
        reply = await fleet.ask(name, Tokenize(text="ab"), TokenizeReply)
        assert reply.tokens == [97, 98]
    with pytest.raises(RequestError, match="no messages") as refused:
        await fleet.ask("one", ApplyTemplate(prompt=ChatPrompt([])), ApplyTemplateReply)
    assert refused.value.param == "m"
    with pytest.raises(NotServed):
        await fleet.ask("one", ChangeSlot(action="erase", slot=0), ChangeSlotReply)


async def test_names_and_figures(lasting: list[ReplicaProcess], fleet_over: StartFleet) -> None:
    fleet = await fleet_over(ScriptedCluster(lasting))
    (status,) = fleet.models()
    assert (status.name, status.type, status.state, status.n_ctx) == ("one", "Q8_0", "ready", 4096)
    assert fleet.find("ones").name == "ones"
    assert fleet.ready()
    with pytest.raises(ModelNotFound, match="'other'; it serves one"):
        fleet.generate("other", request("going 1 0"))
    assert (await fleet.stats("one")).running == 0
    readers = await started(fleet, 9)
    assert (await fleet.stats("one")).running == 9
    assert (await fleet.slots("one")).slots == []
    (sample,) = await fleet.samples(5.0)
    assert (sample.model, sample.type, sample.answered) == ("one", "Q8_0", True)
    assert (sample.running, sample.waiting) == (9, 0)
    assert sample.stats is not None
    assert sample.stats.running == 9
    await are_whole(readers)


async def test_two_api_processes_have_the_same_replicas(
    lasting: list[ReplicaProcess], fleet_over: StartFleet
) -> None:
    fleets = [await fleet_over(ScriptedCluster(lasting)) for _ in range(2)]
    readers = [Reader(fleet, "going 40 0.02", f"r{number}") for fleet in fleets for number in range(4)]
    await until(lambda: all(reader.has_output() for reader in readers))
    await fleets[0].stop(0.0)
    await are_whole(readers[4:])
    for reader in readers[:4]:
        assert isinstance(await reader.end(), Failure)


async def test_a_client_is_told_in_the_protocols_form(fleet_over: StartFleet) -> None:
    cluster = ScriptedCluster()
    fleet = await fleet_over(cluster, FleetPolicy(load_wait_s=0.2, poll_s=0.02, max_waiting=1))
    transport = httpx.ASGITransport(app=create_app(ServerConfig(), fleet))
    async with httpx.AsyncClient(transport=transport, base_url="http://fleet") as client:
        models = (await client.get("/v1/models")).json()["data"]
        assert [model["id"] for model in models] == ["one"]
        assert (await client.get("/ready")).status_code == 503

        async def ask(model: str) -> tuple[int, str | None, str]:
            reply = await client.post("/v1/completions", json={"model": model, "prompt": "going 1 0"})
            return reply.status_code, reply.headers.get("retry-after"), reply.json()["error"]["code"]

        assert await ask("other") == (404, None, "model_not_found")
        answers = await asyncio.gather(ask("one"), ask("one"))
        assert sorted(answers) == [(429, "5", "rate_limit_exceeded"), (503, "5", "model_loading")]


async def test_missing_replicas(fleet_over: StartFleet) -> None:
    cluster = ScriptedCluster()
    fleet = await fleet_over(cluster, FleetPolicy(load_wait_s=0.3, poll_s=0.02))
    assert not fleet.ready()
    assert fleet.impediment() is None, "only replicas are missing"
    (failure,) = await collect(fleet.generate("one", request("going 1 0")))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.retry_after_s) == ("unavailable", 5.0)
    assert "no replica of ones" in failure.message
    for call in (fleet.stats("one"), fleet.slots("one"), fleet.ask("one", Tokenize(text="a"), TokenizeReply)):
        with pytest.raises(WorkerError, match="no replica of one"):
            await call
    cluster.state = "failed"
    await until(lambda: fleet.find("one").state == "failed")
    with pytest.raises(ModelLoadError):
        await collect(fleet.generate("one", request("going 1 0")))
    assert fleet.n_running == 0


async def test_answers_go_on_while_the_cluster_says_nothing(
    lasting: list[ReplicaProcess], fleet_over: StartFleet, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = ScriptedCluster(lasting)
    fleet = await fleet_over(cluster, FleetPolicy(poll_s=0.02, deaf_after_s=0.2))
    assert fleet.ready()
    cluster.is_deaf = True
    await until(lambda: not fleet.ready())
    assert "head is gone" in str(fleet.impediment())
    assert isinstance((await collect(fleet.generate("one", request("going 1 0"))))[-1], Finish)
    cluster.is_deaf = False
    await until(fleet.ready)
    assert caplog.text.count("doesn't answer") == 1


async def test_a_cluster_that_is_not_there(fleet_over: StartFleet) -> None:
    with pytest.raises(WorkerError, match="is it up"):
        await fleet_over(ScriptedCluster(is_deaf=True))
