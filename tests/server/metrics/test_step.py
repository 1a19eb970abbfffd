"""The gaps that steps count for all their streams are those that each stream had."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from server.engine.events import Delta, Event, Finish, Started, Timings, Usage
from server.ipc.messages import StepEvents
from server.metrics.figures import FigureBook
from server.metrics.histogram import GAP_BOUNDS_S, Histogram
from server.metrics.origin import Origin
from server.metrics.request_meter import RequestMeter
from server.metrics.step import Step
from server.supervisor.process import dispatcher
from server.supervisor.process.dispatcher import Dispatcher

TIMINGS = Timings(queue_ms=0, prompt_n=1, prompt_ms=1, predicted_n=1, predicted_ms=1)


class Sink:
    def on_event(self, event: Event) -> None:
        """Nobody reads it."""

    async def drained(self) -> None:
        """Nothing waits."""


class Clock:
    """Stands for the dispatcher's `time`."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.mark.parametrize("seed", range(5))
async def test_random_steps(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of two arms with one choice or two come, pause, get several tokens at once, and end."""
    choose, clock, book = random.Random(seed), Clock(), FigureBook()
    monkeypatch.setattr(dispatcher, "time", clock)
    worker = Dispatcher("demo", lambda _: None)
    expected: dict[str, Histogram] = defaultdict(lambda: Histogram(GAP_BOUNDS_S))
    n_tokens: dict[str, int] = defaultdict(int)
    arms: dict[str, str] = {}
    last_s: dict[tuple[str, int], float] = {}
    counts: dict[str, int] = defaultdict(int)
    for number in range(300):
        clock.now_s += choose.choice([0.001, 0.02, 0.5])
        events: list[Event] = []
        if len(arms) < 4 and choose.random() < 0.1:
            name = f"r{number}"
            arms[name] = choose.choice(["", "a", "b"])
            meter = RequestMeter(book, Origin(arm=arms[name]), clock.monotonic)
            meter.assign("demo", "Q8_0")
            worker.open(name, Sink(), meter)
            events.append(Started(id=name, prompt_tokens=1, cached_tokens=0))
        for name, arm in list(arms.items()):
            for index in range(1 + (int(name[1:]) % 3 == 0)):
                if choose.random() < 0.1:
                    continue
                n = choose.choice([1, 1, 1, 1, 3, 0])
                events.append(Delta(id=name, index=index, text="x", n_tokens=n))
                before_s = last_s.get((name, index))
                counts[name] += n
                n_tokens[arm] += n
                if not n:
                    continue
                if before_s is not None:
                    expected[arm].add((clock.now_s - before_s) / n, n)
                elif n > 1:
                    expected[arm].add(0.0, n - 1)
                last_s[name, index] = clock.now_s
            if choose.random() < 0.02:
                usage = Usage(prompt_tokens=1, completion_tokens=counts[name] + 1)  # the last brought no text
                n_tokens[arm] += 1
                events.append(Finish(id=name, usage=usage, timings=TIMINGS))
                del arms[name]
        worker.on_reply(StepEvents(events))
    assert set(expected) == {labels.arm for labels in book.requests} == {"", "a", "b"}
    for labels, figures in book.requests.items():
        found, wanted = figures.between_tokens_s, expected[labels.arm]
        assert found.counts == wanted.counts
        assert found.total == pytest.approx(wanted.total)
        assert figures.generated_tokens == n_tokens[labels.arm]


def test_steps_of_the_past_are_not_kept() -> None:
    first = Step(1.0)
    second = Step(2.0, first)
    third = Step(3.0, second)
    assert (third.previous, third.number) == (second, 2)
    assert second.previous is None
