"""Thousands of random schedules of requests, links and deaths: each request ends once, with the right tokens.

Replicas and links are scripted on a clock that jumps: a link brings what was written in order, after any
time, also once its replica is dead; a request may be declined, and come to a replica that is dead.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from models.errors import CorralError, WorkerDied
from server.cluster.link.link_messages import (
    Beat,
    Begin,
    Declined,
    FromReplica,
    Hello,
    Refused,
    ToReplica,
    decode_to_replica,
)
from server.cluster.link.refusals import refusal_of
from server.cluster.peers.peer import Peer
from server.cluster.peers.replica_run import ReplicaRun
from server.cluster.peers.run_table import Destination, RunTable
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
from server.ipc.frames import HEADER
from server.ipc.messages import Cancel, Generate, StepEvents
from server.ipc.prompts import TextPrompt
from server.supervisor.request_handle import Lease, RequestHandle
from tests.server.openai.collect import Collector
from tests.server.supervisor.virtual import run as run_on_a_virtual_clock

ZERO = Timings(queue_ms=0, prompt_n=1, prompt_ms=0, predicted_n=1, predicted_ms=0)
MAX_REPLICAS = 3
MAX_ONGOING = 2


@dataclass
class World:
    chance: random.Random
    table: RunTable = field(default_factory=lambda: RunTable(silent_ticks=5))
    deaths_left: int = 0
    refusals_left: int = 0
    n_made: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.add(asyncio.create_task(work))


class Replica:
    """A replica and its link. What it writes comes later; a dead one has written its last."""

    def __init__(self, world: World) -> None:
        world.n_made += 1
        self.world, self.alive, self.n_ongoing = world, True, 0
        self.written: asyncio.Queue[FromReplica | None] = asyncio.Queue()
        hello = Hello(replica=f"{world.n_made}", deployment="d", statuses=[], max_ongoing=MAX_ONGOING)
        self.peer = Peer(hello, self._on_frame, lambda: None)
        self.cancelled: set[str] = set()
        world.table.join(self.peer)
        world.start(self._deliver())
        world.start(self._beat())

    def _on_frame(self, frame: bytes) -> None:
        asyncio.get_running_loop().call_later(
            self.world.chance.choice([0.0, 0.01, 0.5]),
            self._on_message,
            decode_to_replica(frame[HEADER.size :]),
        )

    def _on_message(self, message: ToReplica) -> None:
        if not self.alive:
            return
        if isinstance(message, Cancel):
            self.cancelled.add(message.id)
        elif isinstance(message, Begin):
            assert isinstance(message.work, Generate)
            if self.n_ongoing == MAX_ONGOING or self.world.chance.random() < 0.1:
                self.written.put_nowait(Declined(message.work.id))
            else:
                self.world.start(self._serve(message.work))

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
            self.written.put_nowait(Beat(self.n_ongoing))

    def die(self) -> None:
        """End, with or without a word; another one comes in its place."""
        self.alive = False
        if self.world.chance.random() < 0.6:
            self.written.put_nowait(None)
        again = asyncio.get_running_loop().call_later
        again(self.world.chance.choice([0.0, 3.0, 20.0]), Replica, self.world)

    async def _serve(self, request: Generate) -> None:
        self.n_ongoing += 1
        try:
            await self._say(request)
        finally:
            self.n_ongoing -= 1

    async def _say(self, request: Generate) -> None:
        world, chance = self.world, self.world.chance
        if world.refusals_left and chance.random() < 0.2:
            world.refusals_left -= 1
            died = refusal_of(WorkerDied("its worker has died before"))
            self.written.put_nowait(Refused(request.id, died))
            return
        for events in steps_of(request, chance):
            await asyncio.sleep(chance.choice([0.0, 0.01, 0.3]))
            if not self.alive:
                return
            if world.deaths_left and chance.random() < 0.15:
                world.deaths_left -= 1
                if chance.random() < 0.3:  # its worker alone
                    ended = Failure(id=request.id, kind="server_error", message="died", code=WORKER_DIED)
                    self.written.put_nowait(StepEvents([ended]))
                else:
                    self.die()
                return
            if request.id in self.cancelled:
                return
            self.written.put_nowait(StepEvents(events))


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
            assert n_troubles >= MAX_REPLICAS, error
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
    for _ in range(chance.randint(1, 3)):
        Replica(world)
    world.deaths_left, world.refusals_left = chance.randint(0, 4), chance.randint(0, 1)
    n_troubles = world.deaths_left + world.refusals_left

    async def tick() -> None:
        while True:
            await asyncio.sleep(1.0)
            world.table.tick()

    world.start(tick())

    def lease_of(request_id: str) -> Lease:
        tried: set[str] = set()

        @asynccontextmanager
        async def lease(_died: WorkerDied | None) -> AsyncIterator[ReplicaRun]:
            run = ReplicaRun(Destination("d", "", request_id, frozenset(tried)), world.table, 60.0)
            try:
                yield run
            finally:
                tried.add(run.replica or "")

        return lease

    clients = []
    for number in range(chance.randint(1, 8)):
        n_tokens, collector = chance.randint(0, 12), Collector()
        asked = Generate(id=f"r{number}", prompt=TextPrompt(str(n_tokens)), params=SamplingParams())
        source = RequestHandle(asked, lease_of(asked.id), max_workers=MAX_REPLICAS)
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
    assert not any(peer.runs for peer in world.table.roster)
    assert not world.table.n_waiting("d")
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
