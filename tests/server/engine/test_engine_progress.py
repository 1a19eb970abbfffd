"""What a request is told of its prompt's progress, and an answer that has taken its time."""

from __future__ import annotations

from dataclasses import replace

from server.engine.engine import EngineConfig
from server.engine.events import Event, PromptProgress, RequestReading, Started
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from tests.server.engine.harness import Clock, Harness, request
from tests.server.engine.scripted_runner import ScriptedRunner


class Telling(Harness):
    """A harness that keeps the events which tell of prompts, and gives the others to its outcomes."""

    def __init__(self, runner: ScriptedRunner | None = None, clock: Clock | None = None) -> None:
        super().__init__(runner, EngineConfig(), clock=clock)
        self.told: list[Event] = []

    def tell(self, asked: EngineRequest) -> list[PromptProgress]:
        self.engine.submit(asked)
        events: list[Event] = []
        while self.engine.has_work:
            events += self.engine.step()
            self.engine.check_integrity()
        self.told = events
        return [event for event in events if isinstance(event, PromptProgress)]


def test_progress_begins_with_what_is_cached_and_ends_with_the_prompt() -> None:
    harness = Telling(ScriptedRunner(n_batch=8))
    asked = replace(request(range(20), max_tokens=2), tells_progress=True)
    told = harness.tell(asked)
    assert [(event.total, event.cached, event.processed) for event in told] == [
        (20, 0, 0),
        (20, 0, 8),
        (20, 0, 16),
        (20, 0, 20),
    ]
    assert told[0].ms == 0.0
    assert [event.ms for event in told] == sorted(event.ms for event in told)
    again = harness.tell(replace(asked, id="again"))
    assert (again[0].cached, again[0].processed, again[-1].processed) == (19, 19, 20)


def test_nobody_is_told_who_does_not_ask() -> None:
    assert Telling().tell(request(range(20), max_tokens=2)) == []


def test_a_reading_comes_with_the_start() -> None:
    reading = RequestReading("text", SamplingParams(), (2,))
    harness = Telling()
    harness.tell(replace(request(), reading=reading))
    (started,) = [event for event in harness.told if isinstance(event, Started)]
    assert started.reading == reading


def test_an_answer_that_takes_too_long_ends_after_a_line() -> None:
    for limit_ms, most in ((1e9, 20), (0.0, 19)):
        harness = Harness()
        asked = replace(request(max_tokens=20, ignore_eos=True), predict_ms=limit_ms)
        harness.submit(asked)
        sequence = next(iter(harness.engine._requests.sequences.values()))
        while harness.engine.has_work:
            harness.step()
            sequence.has_new_line = sequence.has_new_line or sequence.n_generated == 5
        finish = harness.outcomes[asked.id].finish
        assert finish.usage.completion_tokens <= most
        if limit_ms == 0.0:
            assert finish.usage.completion_tokens <= 6
        else:
            assert finish.usage.completion_tokens == most
