"""Thousands of random schedules of calls, links and deaths: each request ends once, with the right tokens.

Replicas, links and calls are scripted on a clock that jumps: a link brings what was written in order, after
any time, also once its replica is dead; the end of a call and that of a link come in any order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from models.errors import CorralError, WorkerBusy, WorkerDied
from server.cluster.calls import decode_work, encode_answer, refusal_of
from server.cluster.handles import ReplicaLost, ReplyTo
from server.cluster.link_messages import Acceptance, Beat, FromReplica, ToReplica
from server.cluster.replica_run import Destination, ReplicaRun
from server.cluster.run_table import Peer, RunTable
from server.engine.events import (
    WORKER_DIED,
    ChoiceEnd,
    Delta,
    Event,
    Failure,
    Finish,
    Started,
    Timings,
    Usage,
)
from server.engine.resumption import Beginning, packed, unpacked
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Cancel, Generate, StepEvents
from server.ipc.prompts import TextPrompt
from server.supervisor.request_handle import RequestHandle
from tests.server.openai.collect import Collector
from tests.server.supervisor.virtual import run as run_on_a_virtual_clock

ZERO = Timings(queue_ms=0, prompt_n=1, prompt_ms=0, predicted_n=1, predicted_ms=0)
REPLY_TO = ReplyTo("nowhere", 1, b"")
MAX_REPLICAS = 3


@dataclass
class World:
    chance: random.Random
    table: RunTable = field(default_factory=lambda: RunTable(silent_ticks=5))
    replicas: list[Replica] = field(default_factory=list)
    deaths_left: int = 0
    refusals_left: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, prefix_key: str, name: str, frame: bytes, reply_to: ReplyTo) -> bytes:
        await asyncio.sleep(self.chance.choice([0.0, 0.01, 0.5]))
        if self.chance.random() < 0.1:
            raise WorkerBusy("full", 1.0)
        replica = self.chance.choice(self.replicas)
        if not replica.alive:
            self.replicas[self.replicas.index(replica)] = Replica(self)
            raise ReplicaLost("it is gone")
        asked = decode_work(frame)
        assert isinstance(asked, Generate)
        return await replica.run(asked)

    async def ask(self, name: str, frame: bytes) -> bytes:
        raise NotImplementedError

    async def info(self) -> bytes:
        raise NotImplementedError


class Replica:
    """A replica and its link. What it writes comes later; a silent one has written its last."""

    def __init__(self, world: World) -> None:
        self.world, self.alive = world, True
        self.written: asyncio.Queue[FromReplica | None] = asyncio.Queue()
        self.peer = Peer(self._on_message, lambda: None)
        self.cancelled: set[str] = set()
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        world.table.join(self.peer)
        for work in (self._deliver(), self._beat()):
            task = asyncio.create_task(work)
            world.tasks.add(task)

    def _on_message(self, message: ToReplica) -> None:
        assert isinstance(message, Cancel)
        self.cancelled.add(message.id)

    async def _deliver(self) -> None:
        while True:
            message = await self.written.get()
            await asyncio.sleep(self.world.chance.choice([0.0, 0.0, 0.003, 0.2]))
            if message is None:
                self.world.table.leave(self.peer, "closed")
                return
            self.world.table.take(self.peer, message)

    async def _beat(self) -> None:
        while self.alive:
            await asyncio.sleep(1.0)
            if self.peer.runs:
                self.written.put_nowait(Beat())

    def die(self) -> None:
        self.alive = False
        if self.world.chance.random() < 0.6:
            self.written.put_nowait(None)
        if not self.died.done():
            self.died.set_result(None)

    async def run(self, request: Generate) -> bytes:
        serving = asyncio.ensure_future(self._serve(request))
        either: list[asyncio.Future[Any]] = [serving, self.died]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            return serving.result()
        serving.cancel()
        await asyncio.sleep(self.world.chance.choice([0.0, 0.004, 0.3, 20.0]))
        raise ReplicaLost("it has died")

    async def _serve(self, request: Generate) -> bytes:
        world, chance = self.world, self.world.chance
        if world.refusals_left and chance.random() < 0.2:
            world.refusals_left -= 1
            return encode_answer(refusal_of(WorkerDied("its worker has died before")))
        self.written.put_nowait(Acceptance(request.id))
        for events in steps_of(request, chance):
            await asyncio.sleep(chance.choice([0.0, 0.01, 0.3]))
            if world.deaths_left and chance.random() < 0.15:
                world.deaths_left -= 1
                if chance.random() < 0.3:  # its worker alone
                    died = Failure(id=request.id, kind="server_error", message="died", code=WORKER_DIED)
                    self.written.put_nowait(StepEvents([died]))
                    return b""
                self.die()
                await asyncio.sleep(3600)
            if request.id in self.cancelled:
                return b""
            self.written.put_nowait(StepEvents(events))
        return b""


def steps_of(request: Generate, chance: random.Random) -> list[list[Event]]:
    """The events of an answer whose tokens are 0 to n - 1, from where it was."""
    assert isinstance(request.prompt, TextPrompt)
    n, so_far = int(request.prompt.text), request.resumption
    n_before = 0 if so_far is None else len(unpacked(so_far.choices[0].tokens))
    beginning = Beginning(prompt=packed([1]), seed=1, has_replay=True)
    steps: list[list[Event]] = [
        [Started(id=request.id, prompt_tokens=1, cached_tokens=0, beginning=beginning)],
    ]
    for number in range(n_before, n):
        delta = Delta(id=request.id, index=0, text=f"{number} ", tokens=(number,))
        if chance.random() < 0.5:
            steps.append([delta])
        else:
            steps[-1].append(delta)
    usage = Usage(prompt_tokens=1, completion_tokens=n)
    end = ChoiceEnd(id=request.id, index=0, finish_reason="stop", n_tokens=n)
    steps.append([end, Finish(id=request.id, usage=usage, timings=ZERO)])
    return steps


@dataclass
class Client:
    """A request of `n_tokens`, and what has come of it. One that `goes` doesn't wait for its end."""

    number: int
    n_tokens: int
    goes: bool
    collector: Collector
    task: asyncio.Task[None]

    async def check(self, n_troubles: int) -> None:
        error: CorralError | None = None
        try:
            await asyncio.wait_for(self.task, 200.0)
        except CorralError as raised:
            error = raised
        except asyncio.CancelledError:
            assert self.goes
        events = self.collector.events
        tokens = [token for event in events if isinstance(event, Delta) for token in event.tokens]
        assert tokens == list(range(len(tokens)))
        assert all(event.id == f"r{self.number}" for event in events)
        assert sum(isinstance(event, Started) for event in events) <= 1
        if self.task.cancelled():
            return
        if error is not None:
            assert not events, "an error after events"
            assert isinstance(error, WorkerBusy) or n_troubles >= MAX_REPLICAS, error
            return
        ends = [event for event in events if isinstance(event, Finish | Failure)]
        assert ends == [events[-1]]
        if isinstance(ends[0], Failure):
            assert n_troubles >= MAX_REPLICAS, ends[0].message
        else:
            assert len(tokens) == ends[0].usage.completion_tokens == self.n_tokens


async def one_world(seed: int) -> None:
    chance = random.Random(seed)
    world = World(chance)
    world.replicas = [Replica(world) for _ in range(3)]
    world.deaths_left, world.refusals_left = chance.randint(0, 4), chance.randint(0, 1)
    n_troubles = world.deaths_left + world.refusals_left

    async def tick() -> None:
        while True:
            await asyncio.sleep(1.0)
            world.table.tick()

    world.tasks.add(asyncio.create_task(tick()))
    calls: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lease(_died: WorkerDied | None) -> AsyncIterator[ReplicaRun]:
        yield ReplicaRun(Destination("d", world, "", "key", REPLY_TO, 60.0, 2.0), world.table, calls)

    clients = []
    for number in range(chance.randint(1, 4)):
        n_tokens, collector = chance.randint(0, 12), Collector()
        asked = Generate(id=f"r{number}", prompt=TextPrompt(str(n_tokens)), params=SamplingParams())
        source = RequestHandle(asked, lease, max_workers=MAX_REPLICAS)
        task = asyncio.create_task(source.subscribe(collector))
        clients.append(Client(number, n_tokens, chance.random() < 0.15, collector, task))
    for client in clients:
        if client.goes:
            await asyncio.sleep(chance.random())
            client.task.cancel()
    for client in clients:
        await client.check(n_troubles)
    await asyncio.sleep(30.0)
    assert world.table.n_running == 0, "runs are left"
    assert not any(peer.runs for peer in world.table.peers)
    assert not calls, "calls are left"
    for task in world.tasks:
        task.cancel()


def run_worlds(seeds: range) -> None:
    for seed in seeds:
        try:
            run_on_a_virtual_clock(one_world(seed))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("seed", range(3))
def test_each_request_ends_once_with_its_tokens(seed: int) -> None:
    run_worlds(range(100 * seed, 100 * seed + 100))


@pytest.mark.thorough
def test_of_thousands_each() -> None:
    run_worlds(range(1000, 6000))
