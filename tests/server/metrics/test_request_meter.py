"""What a meter counts of scripted events, by a clock that the test sets."""

from __future__ import annotations

import asyncio

import pytest

from models.errors import RequestError, WorkerBusy, WorkerDied
from server.engine.events import ChoiceEnd, Delta, Failure, Finish, Started, Timings, Usage
from server.metrics.figures import FigureBook, RequestFigures
from server.metrics.origin import Origin
from server.metrics.request_meter import RequestMeter
from server.metrics.step import Step


class Course:
    """One request at times that the test chooses; it arrives at 100 s."""

    def __init__(self, arm: str = "", *, is_pooled: bool = False, adapters: tuple[str, ...] = ()) -> None:
        self.now_s = 100.0
        self.book = FigureBook()
        self.origin = Origin(arrived_s=100.0, arm=arm)
        self.meter = RequestMeter(
            self.book, self.origin, lambda: self.now_s, is_pooled=is_pooled, adapters=adapters
        )
        self.step = Step(self.now_s)

    @property
    def figures(self) -> RequestFigures:
        (figures,) = self.book.requests.values()
        return figures

    def begin(self, prompt_tokens: int = 7, cached_tokens: int = 3) -> None:
        self.meter.assign("demo", "Q8_0")
        self.meter.sent()
        self.meter.on_event(
            Started(id="r", prompt_tokens=prompt_tokens, cached_tokens=cached_tokens), self.now_s
        )

    def token(self, after_s: float, n_tokens: int = 1, index: int = 0, *, is_prompt: bool = False) -> None:
        self.now_s += after_s
        delta = Delta(id="r", index=index, text="x", n_tokens=n_tokens, is_prompt=is_prompt)
        if self.step.now_s != self.now_s:
            self.step = Step(self.now_s, self.step)
        self.meter.on_token(delta, self.step)

    def finish(self, completion_tokens: int, prompt_n: int = 4) -> None:
        usage = Usage(prompt_tokens=7, completion_tokens=completion_tokens, cached_tokens=3)
        timings = Timings(
            queue_ms=250.0,
            prompt_n=prompt_n,
            prompt_ms=500.0,
            predicted_n=completion_tokens,
            predicted_ms=750.0,
            draft_n=5,
            draft_n_accepted=2,
        )
        self.meter.on_event(Finish(id="r", usage=usage, timings=timings), self.now_s)


def test_a_whole_request() -> None:
    course = Course()
    course.begin()
    course.token(2.0)
    course.token(0.5)
    course.token(0.25, n_tokens=2)
    course.meter.on_event(ChoiceEnd(id="r", index=0, finish_reason="length"), course.now_s)
    course.now_s += 0.25
    course.finish(5)
    course.meter.end(None)
    figures = course.figures
    assert (figures.first_token_s.n, figures.first_token_s.total) == (1, 2.0)
    assert (figures.between_tokens_s.n, figures.between_tokens_s.total) == (3, 0.75)
    assert figures.whole_s.total == 3.0
    assert (figures.queue_s.total, figures.prefill_s.total, figures.decode_s.total) == (0.25, 0.5, 0.75)
    assert (figures.prompt_tokens, figures.cached_tokens, figures.computed_tokens) == (7, 3, 4)
    assert figures.generated_tokens == 5, "the last one came with no text"
    assert (figures.draft_tokens, figures.accepted_tokens, figures.longest) == (5, 2, 12)
    assert (figures.prompt_size.total, figures.answer_size.total) == (7, 5)
    assert (dict(figures.finished), dict(figures.failed)) == ({"length": 1}, {})


def test_tokens_are_counted_while_they_come_and_once() -> None:
    course = Course()
    course.begin()
    course.token(1.0, n_tokens=0)
    assert course.figures.first_token_s.n == 0
    course.token(1.0)
    assert (course.figures.generated_tokens, course.figures.computed_tokens) == (1, 4)
    course.token(1.0)
    course.finish(2)
    assert (course.figures.generated_tokens, course.figures.computed_tokens) == (2, 4)


def test_what_is_computed_again_counts() -> None:
    course = Course()
    course.begin()
    course.token(1.0)
    course.finish(1, prompt_n=9)
    assert course.figures.computed_tokens == 9


def test_a_prompt_of_which_nothing_was_computed() -> None:
    course = Course()
    course.begin(cached_tokens=0)
    course.finish(0, prompt_n=0)
    assert (course.figures.computed_tokens, course.figures.generated_tokens) == (0, 0)


def test_choices_have_gaps_of_their_own() -> None:
    course = Course()
    course.begin()
    for _ in range(3):
        course.token(1.0, index=0)
        course.token(0.0, index=1)
    figures = course.figures
    assert figures.first_token_s.n == 1
    assert (figures.between_tokens_s.n, figures.between_tokens_s.total) == (4, 4.0)


def test_an_echoed_prompt_is_no_token() -> None:
    course = Course()
    course.begin()
    course.token(1.0, is_prompt=True)
    assert (course.figures.first_token_s.n, course.figures.generated_tokens) == (0, 0)


def test_the_time_of_loading_is_a_wait() -> None:
    course = Course()
    course.meter.assign("demo", "Q8_0")
    course.now_s += 4.0
    course.meter.sent()
    course.meter.on_event(Started(id="r", prompt_tokens=7, cached_tokens=0), course.now_s)
    course.finish(1)
    assert course.figures.queue_s.total == 4.25


def test_an_answer_of_calls_stopped_for_them() -> None:
    course = Course()
    course.begin()
    course.origin.called.add(1)
    for index in (0, 1):
        course.meter.on_event(ChoiceEnd(id="r", index=index, finish_reason="stop"), course.now_s)
    assert dict(course.figures.finished) == {"stop": 1, "tool_calls": 1}


def test_each_arm_has_its_own() -> None:
    course = Course(arm="b")
    course.begin()
    assert list(course.book.requests) == [("demo", "Q8_0", "b")]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncio.CancelledError(), "cancelled"),
        (None, "cancelled"),
        (WorkerBusy("full", retry_after_s=1.0), "busy"),
        (RequestError("no"), "invalid_request"),
        (WorkerDied("gone"), "server_error"),
        (BrokenPipeError(), "server_error"),
    ],
)
def test_an_end_without_an_event(error: BaseException | None, kind: str) -> None:
    course = Course()
    course.begin()
    course.meter.end(error)
    assert dict(course.figures.failed) == {kind: 1}
    assert course.figures.whole_s.n == 0


def test_vectors_are_no_answer_of_tokens() -> None:
    course = Course(is_pooled=True)
    course.begin(cached_tokens=0)
    course.now_s += 2.0
    course.finish(0, prompt_n=7)
    figures = course.figures
    assert (figures.prompt_tokens, figures.computed_tokens, figures.looked_up_tokens) == (7, 7, 0)
    assert (figures.prompt_size.total, figures.whole_s.total, figures.queue_s.n, figures.prefill_s.n) == (
        7,
        2,
        1,
        1,
    )
    assert figures.first_token_s.n == figures.decode_s.n == figures.answer_size.n == 0
    assert dict(figures.finished) == {"stop": 1}


def test_a_failure_is_counted_once() -> None:
    course = Course()
    course.begin()
    course.meter.on_event(Failure(id="r", kind="unavailable", message="drained"), course.now_s)
    course.meter.end(RuntimeError("raised by whoever answers it"))
    assert dict(course.figures.failed) == {"unavailable": 1}


def test_a_request_without_a_model_is_nobodys() -> None:
    course = Course()
    course.meter.end(RequestError("no such model"))
    assert course.book.requests == {}


@pytest.mark.parametrize("is_begun", [False, True])
def test_adapters_are_waited_for_had_and_left(*, is_begun: bool) -> None:
    course = Course(adapters=("demo:a", "demo:b"))
    load = course.book.adapters
    course.book.adapters.wait(["demo:b"])  # another request
    course.meter.assign("demo", "Q8_0")
    assert (load.running, load.waiting) == ([], ["demo:a", "demo:b"])
    if is_begun:
        course.begin()  # in a second worker, as the first had died
        assert (load.running, load.waiting) == (["demo:a", "demo:b"], ["demo:b"])
        course.finish(1)
        assert load.running  # until the request has gone
    course.meter.end(None)
    assert (load.running, load.waiting) == ([], ["demo:b"])
