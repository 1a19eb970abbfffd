"""A replica dies after each of an answer's events, in each way, over real sockets: the answer is whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
import pytest_asyncio

from server.cluster.calls import decode_work, encode_answer
from server.cluster.fleet import Fleet, FleetPolicy
from server.cluster.handles import Deployment, ReplicaInfo, ReplicaLost, ReplyTo
from server.cluster.reply_link import ReplyLinks
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
from server.ipc.messages import Generate
from server.supervisor.protocol import ModelStatus
from tests.server.openai.collect import Collector
from tests.server.supervisor.conftest import request

N_TOKENS = 8
ZERO = Timings(queue_ms=0, prompt_n=1, prompt_ms=0, predicted_n=1, predicted_ms=0)
Death = Literal["link, then call", "call, then link", "call alone", "link alone", "worker", "last words"]
DEATHS: tuple[Death, ...] = (
    "link, then call",
    "call, then link",
    "call alone",
    "link alone",
    "worker",
    "last words",
)


def events_of(asked: Generate) -> list[Event]:
    """An answer of one token after the other, from where it was."""
    so_far = asked.resumption
    n_before = 0 if so_far is None else len(unpacked(so_far.choices[0].tokens))
    beginning = Beginning(prompt=packed([1]), seed=1, has_replay=True)
    numbers = range(n_before, N_TOKENS)
    usage = Usage(prompt_tokens=1, completion_tokens=len(numbers))
    return [
        Started(id=asked.id, prompt_tokens=1, cached_tokens=0, beginning=beginning),
        *(Delta(id=asked.id, index=0, text=f"{number} ", tokens=(number,)) for number in numbers),
        ChoiceEnd(id=asked.id, index=0, finish_reason="length", n_tokens=N_TOKENS),
        Finish(id=asked.id, usage=usage, timings=ZERO),
    ]


@dataclass
class Mortal:
    """A `Cluster` of one deployment, and its handle: the first calls die after `n_events` events."""

    death: Death
    n_events: int
    n_deaths: int = 1
    n_calls: int = 0
    links: list[ReplyLinks] = field(default_factory=list)

    async def deployments(self) -> Sequence[Deployment]:
        return [Deployment(name="d", model="one", state="ready", handle=self, n_replicas=1)]

    async def info(self) -> bytes:
        return encode_answer(ReplicaInfo(statuses=[ModelStatus(name="one", state="ready", created=1)]))

    async def ask(self, name: str, frame: bytes) -> bytes:
        raise NotImplementedError

    async def run(self, prefix_key: str, name: str, frame: bytes, reply_to: ReplyTo) -> bytes:
        self.n_calls += 1
        asked = decode_work(frame)
        assert isinstance(asked, Generate)
        links = ReplyLinks(lambda link, question: None)
        self.links.append(links)
        link = await links.to(reply_to)
        link.begin(asked.id, lambda: None)
        events = events_of(asked)
        if self.n_calls > self.n_deaths:
            for event in events:
                link.on_event(event)
            return b""
        for event in events[: self.n_events]:
            link.on_event(event)
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)
        if self.death == "worker":
            link.on_event(Failure(id=asked.id, kind="server_error", message="died", code=WORKER_DIED))
            return b""
        if self.death in ("link, then call", "link alone"):
            link.abort()
        if self.death == "link alone":
            await asyncio.sleep(3600)
        if self.death == "call, then link":
            asyncio.get_running_loop().call_later(0.005, link.abort)
        if self.death == "last words" and self.n_events <= N_TOKENS:
            asyncio.get_running_loop().call_later(0.005, link.on_event, events[self.n_events])
        await asyncio.sleep(0.002)
        raise ReplicaLost("it has died")


@pytest_asyncio.fixture
async def mortals() -> AsyncIterator[list[Mortal]]:
    made: list[Mortal] = []
    yield made
    for mortal in made:
        for links in mortal.links:
            links.close()


async def answer(mortal: Mortal) -> list[Event]:
    fleet = Fleet(mortal, host="127.0.0.1", policy=FleetPolicy(load_wait_s=5.0, hurry_s=1.0))
    await fleet.start()
    collector = Collector()
    try:
        await asyncio.wait_for(fleet.generate("one", request("x")).subscribe(collector), 20.0)
        await asyncio.sleep(0.01)
    finally:
        await fleet.stop(0.0)
    return collector.events


@pytest.mark.parametrize("death", DEATHS)
async def test_an_answer_is_whole_whenever_its_replica_dies(mortals: list[Mortal], death: Death) -> None:
    for n_events in range(N_TOKENS + 2):
        mortals.append(mortal := Mortal(death, n_events))
        events = await answer(mortal)
        assert "".join(each.text for each in events if isinstance(each, Delta)) == "0 1 2 3 4 5 6 7 "
        kinds = [type(each) for each in events if not isinstance(each, Delta)]
        assert kinds == [Started, ChoiceEnd, Finish]
        assert mortal.n_calls == 2
        end = events[-1]
        assert isinstance(end, Finish)
        assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (1, N_TOKENS)


@pytest.mark.parametrize("death", DEATHS)
async def test_three_deaths_end_it_once(mortals: list[Mortal], death: Death) -> None:
    mortals.append(mortal := Mortal(death, 3, n_deaths=3))
    events = await answer(mortal)
    ends = [event for event in events if isinstance(event, Finish | Failure)]
    assert ends == [events[-1]]
    assert isinstance(events[-1], Failure)
    assert events[-1].code == WORKER_DIED
    assert mortal.n_calls == 3
