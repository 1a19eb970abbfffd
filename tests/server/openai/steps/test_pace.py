from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from server.engine.events import Event
from server.openai.steps.pace import Pace
from tests.server.openai.answers import FINISH, delta
from tests.server.openai.collect import Collector

EVENTS: list[Event] = [*[delta(str(i)) for i in range(25)], FINISH]


class Broken(Collector):
    """A listener that fails at its tenth event."""

    def on_event(self, event: Event) -> None:
        super().on_event(event)
        if len(self.events) == 10:
            raise RuntimeError("the tenth")


async def test_a_turn_has_so_much_weight() -> None:
    collector = Collector()
    pace = Pace(collector, 10)
    for event in EVENTS:
        pace.on_event(event)
    counts = [len(collector.events)]
    while len(collector.events) < len(EVENTS):
        await asyncio.sleep(0)
        counts.append(len(collector.events))
    assert counts[0] == 10
    assert max(b - a for a, b in pairwise(counts)) == 10
    await pace.settled()
    assert collector.events == EVENTS


async def test_few_events_are_handed_on_at_once() -> None:
    collector = Collector()
    pace = Pace(collector, 10)
    for turn in range(5):
        for i in range(9):
            pace.on_event(EVENTS[i])
        assert len(collector.events) == 9 * (turn + 1)
        await pace.drained()


async def test_an_error_comes_where_the_end_is_awaited() -> None:
    pace = Pace(Broken(), 4)
    for event in EVENTS:
        pace.on_event(event)
    with pytest.raises(RuntimeError, match="the tenth"):
        await pace.settled()
    with pytest.raises(RuntimeError, match="the tenth"):
        pace.on_event(FINISH)


async def test_an_error_at_once_is_raised_at_once() -> None:
    pace = Pace(Broken(), 100)
    for event in EVENTS[:9]:
        pace.on_event(event)
    with pytest.raises(RuntimeError, match="the tenth"):
        pace.on_event(FINISH)


async def test_nothing_is_handed_on_after_the_end() -> None:
    collector = Collector()
    pace = Pace(collector, 10)
    for event in EVENTS:
        pace.on_event(event)
    pace.close()
    await asyncio.sleep(0.01)
    assert len(collector.events) == 10
