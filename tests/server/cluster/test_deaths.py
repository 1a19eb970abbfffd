"""A replica dies after each of an answer's events, in each way, over real sockets: the answer is whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
import pytest_asyncio

from models.errors import WorkerDied
from server.cluster.deployments import Deployment, LinkAddress
from server.cluster.fleet import Fleet, FleetPolicy
from server.cluster.link.link_messages import Ask, Beat, Begin, Declined, Hello, Refused
from server.cluster.link.refusals import refusal_of
from server.cluster.replica import replica_link
from server.cluster.replica.replica_link import ReplicaLink, ReplicaLinks
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
from tests.server.supervisor.test_supervisor import until

N_TOKENS = 8
ZERO = Timings(queue_ms=0, prompt_n=1, prompt_ms=0, predicted_n=1, predicted_ms=0)
Death = Literal["link", "worker", "error"]
DEATHS: tuple[Death, ...] = ("link", "worker", "error")


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
class Mortals:
    """A `Cluster` of one deployment, and its two replicas: the first requests die after `n_events` events."""

    death: Death
    n_events: int
    n_deaths: int = 1
    n_declined: int = 0
    calls: list[str] = field(default_factory=list)
    """The replicas that have had the request, one after the other."""
    links: list[ReplicaLinks] = field(default_factory=list)

    async def deployments(self) -> Sequence[Deployment]:
        return [Deployment(name="d", model="one", state="ready", n_replicas=2)]

    async def announce(self, address: LinkAddress, n_renewals: int) -> None:
        if not self.links:
            self.links = [ReplicaLinks(Mortal(self, name)) for name in ("a", "b")]
        for links in self.links:
            links.keep([address])

    async def withdraw(self, address: LinkAddress) -> None:
        for links in self.links:
            links.keep([])


@dataclass
class Mortal:
    """A `LinkUser`."""

    all: Mortals
    name: str

    def hello(self) -> Hello:
        statuses = [ModelStatus(name="one", state="ready", created=1)]
        return Hello(replica=self.name, deployment="d", statuses=statuses, max_ongoing=4)

    def beat(self) -> Beat:
        return Beat()

    def take(self, link: ReplicaLink, message: Begin | Ask) -> None:
        assert isinstance(message, Begin)
        asked = message.work
        assert isinstance(asked, Generate)
        if self.all.n_declined:
            self.all.n_declined -= 1
            link.send(Declined(asked.id))
            return
        self.all.calls.append(self.name)
        link.begin(asked.id, asyncio.create_task(self._serve(link, asked, len(self.all.calls))))

    async def _serve(self, link: ReplicaLink, asked: Generate, n_calls: int) -> None:
        events = events_of(asked)
        if n_calls > self.all.n_deaths:
            for event in events:
                link.on_event(event)
            return
        for event in events[: self.all.n_events]:
            link.on_event(event)
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)
        if self.all.death == "worker":
            link.on_event(Failure(id=asked.id, kind="server_error", message="died", code=WORKER_DIED))
        elif self.all.death == "error":
            link.send(Refused(asked.id, refusal_of(WorkerDied("its worker has died"))))
        else:
            link.abort()


@pytest_asyncio.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Mortals]]:
    monkeypatch.setattr(replica_link, "RETRY_S", 0.01)
    made: list[Mortals] = []
    yield made
    for mortals in made:
        for links in mortals.links:
            links.close()


async def answer(mortals: Mortals) -> list[Event]:
    fleet = Fleet(mortals, host="127.0.0.1", policy=FleetPolicy(load_wait_s=5.0))
    await fleet.start()
    await until(lambda: len(list(fleet._table.roster)) == 2)
    collector = Collector()
    try:
        await asyncio.wait_for(fleet.generate("one", request("x")).subscribe(collector), 20.0)
        await asyncio.sleep(0.01)
        assert fleet.n_running == 0
    finally:
        await fleet.stop(0.0)
    return collector.events


def check_whole(events: list[Event]) -> None:
    assert "".join(each.text for each in events if isinstance(each, Delta)) == "0 1 2 3 4 5 6 7 "
    kinds = [type(each) for each in events if not isinstance(each, Delta)]
    assert kinds == [Started, ChoiceEnd, Finish]
    end = events[-1]
    assert isinstance(end, Finish)
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (1, N_TOKENS)


@pytest.mark.parametrize("death", DEATHS)
async def test_an_answer_is_whole_whenever_its_replica_dies(made: list[Mortals], death: Death) -> None:
    for n_events in range(N_TOKENS + 2):
        made.append(mortals := Mortals(death, n_events))
        check_whole(await answer(mortals))
        assert len(set(mortals.calls)) == len(mortals.calls) == 2, "it has gone on in the other one"


@pytest.mark.parametrize("death", DEATHS)
async def test_three_deaths_end_it_once(made: list[Mortals], death: Death) -> None:
    made.append(mortals := Mortals(death, 3, n_deaths=3))
    events = await answer(mortals)
    ends = [event for event in events if isinstance(event, Finish | Failure)]
    assert ends == [events[-1]]
    assert isinstance(events[-1], Failure)
    assert events[-1].code == WORKER_DIED
    assert len(mortals.calls) == 3


async def test_what_one_declines_the_other_takes(made: list[Mortals]) -> None:
    made.append(mortals := Mortals("link", 0, n_deaths=0, n_declined=1))
    check_whole(await answer(mortals))
    made.append(mortals := Mortals("link", 0, n_deaths=0, n_declined=2))
    check_whole(await answer(mortals))
