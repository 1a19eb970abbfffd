"""`RequestMeter`: measures one request by the events that pass on their way to the client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from models.errors import RequestError, WorkerBusy
from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Started
from server.metrics.figures import FigureBook, RequestFigures
from server.metrics.histogram import GAP_BOUNDS_S, Histogram
from server.metrics.origin import Origin
from server.metrics.step import Step


class RequestMeter:
    """Writes what it sees into a `FigureBook`, from the moment it knows the model (`assign`).

    What a client was told and what is counted agree: tokens and times are those of the events. Each request
    ends once, by its terminal event or by `end`. `now_s` is the time at which an event came, by the clock.
    One that `is_pooled` has vectors or scores for its answer: neither choices nor tokens. `adapters` are the
    names of its LoRA adapters.
    """

    __slots__ = (
        "_adapters",
        "_assigned_s",
        "_book",
        "_clock_s",
        "_ended",
        "_figures",
        "_gaps",
        "_is_pooled",
        "_is_started",
        "_n_counted",
        "_n_uncached",
        "_origin",
        "_others_s",
        "_run_from",
        "_wait_s",
        "index",
        "last",
    )

    def __init__(
        self,
        book: FigureBook,
        origin: Origin,
        clock_s: Callable[[], float] = time.monotonic,
        *,
        is_pooled: bool = False,
        adapters: Sequence[str] = (),
    ) -> None:
        self._book = book
        self._origin = origin
        self._clock_s = clock_s
        self._is_pooled = is_pooled
        self._adapters = adapters
        self._is_started = False
        self._figures: RequestFigures | None = None
        self._gaps = Histogram(GAP_BOUNDS_S)
        self._assigned_s = 0.0
        self._wait_s = 0.0
        self.index = -1
        """The choice that had the latest token; -1: none has had one."""
        self.last = Step(0.0)
        """The step of that token."""
        self._run_from = 0
        """The number of the step from which on that choice had one token in each."""
        self._others_s: dict[int, float] = {}
        """The times of the other choices' latest tokens."""
        self._n_counted = 0
        """The generated tokens that were counted as they came, without those since `_run_from`."""
        self._n_uncached = 0
        self._ended = False

    def assign(self, model: str, type_: str | None) -> None:
        """Note that this file's worker is wanted. A second time, a first one has died."""
        self._figures = self._book.of_requests(model, type_, self._origin.arm)
        self._gaps = self._figures.between_tokens_s
        if not self._assigned_s:
            self._assigned_s = self._clock_s()
            self._book.adapters.wait(self._adapters)

    def sent(self) -> None:
        """Note that the worker was found, and has the request now."""
        self._wait_s = self._clock_s() - self._assigned_s

    def resumed(self) -> None:
        """Note that the worker died, and that another one goes on with the answer."""
        if self._figures is not None:
            self._figures.resumed += 1

    def on_token(self, event: Delta, step: Step) -> None:
        """Count new tokens.

        For one token of the choice that had a token in the step before, the caller may count `step.n_tokens`
        and set `last` to the step instead.
        """
        n = event.n_tokens
        if not n or event.is_prompt:
            return
        if step.gaps is None:
            step.gaps = self._gaps
        now_s, last_s = step.now_s, self._last_s_of(event.index)
        if last_s is None:
            self._begin_choice(n, now_s)
        else:
            self._gaps.add((now_s - last_s) / n, n)
        self._n_counted += n + self.last.number - self._run_from
        if step.gaps is self._gaps:
            self.last, step.is_held = step, True
        else:
            self.last = Step(now_s)  # it is never the step before, so the caller doesn't count by itself
        self._run_from = self.last.number

    def on_event(self, event: Event, now_s: float) -> None:
        """Take any event that isn't a `Delta`."""
        figures = self._figures
        if figures is None:
            return
        if isinstance(event, Started):
            self._start(figures, event)
        elif isinstance(event, ChoiceEnd):
            reason = "tool_calls" if event.index in self._origin.called else event.finish_reason
            figures.finished[reason] += 1
        elif isinstance(event, Finish):
            self._finish(figures, event, now_s)
        elif isinstance(event, Failure):
            self._fail(figures, event.kind)

    def end(self, error: BaseException | None) -> None:
        """Count a request that ends without a terminal event, and that it has left; it is called once."""
        if self._figures is None:
            return
        self._book.adapters.leave(self._adapters, was_running=self._is_started)
        if self._ended:
            return
        if error is None or isinstance(error, asyncio.CancelledError):
            self._fail(self._figures, "cancelled")
        elif isinstance(error, WorkerBusy):
            self._fail(self._figures, "busy")
        elif isinstance(error, RequestError):
            self._fail(self._figures, "invalid_request")
        else:
            self._fail(self._figures, "server_error")

    # --- inside ---

    def _last_s_of(self, index: int) -> float | None:
        """Return the time of a choice's latest token, which has one now; None: it is its first."""
        if index == self.index:
            return self.last.now_s
        if self.index >= 0:
            self._others_s[self.index] = self.last.now_s
        self.index = index
        return self._others_s.pop(index, None)

    def _start(self, figures: RequestFigures, event: Started) -> None:
        if not self._is_started:
            self._is_started = True
            self._book.adapters.run(self._adapters)
        self._n_uncached = event.prompt_tokens - event.cached_tokens
        figures.prompt_tokens += event.prompt_tokens
        figures.cached_tokens += event.cached_tokens
        if not self._is_pooled:
            figures.looked_up_tokens += event.prompt_tokens

    def _begin_choice(self, n: int, now_s: float) -> None:
        """Count a choice's first tokens: the request's wait for them, and those that came with the first."""
        figures = self._figures
        assert figures is not None
        if not self._n_counted:
            figures.first_token_s.add(now_s - self._origin.arrived_s)
            figures.computed_tokens += self._n_uncached
        figures.other_tokens += 1  # the others are counted by their gaps
        if n > 1:
            figures.between_tokens_s.add(0.0, n - 1)

    def _finish(self, figures: RequestFigures, event: Finish, now_s: float) -> None:
        self._ended = True
        usage, timings = event.usage, event.timings
        n_counted = self._n_counted + self.last.number - self._run_from
        figures.other_tokens += max(0, usage.completion_tokens - n_counted)
        n_computed = self._n_uncached if n_counted else 0
        figures.computed_tokens += max(0, timings.prompt_n - n_computed)
        figures.prompt_s += timings.prompt_ms / 1e3
        figures.generated_s += timings.predicted_ms / 1e3
        figures.draft_tokens += timings.draft_n
        figures.accepted_tokens += timings.draft_n_accepted
        figures.longest = max(figures.longest, usage.prompt_tokens + usage.completion_tokens)
        figures.queue_s.add(self._wait_s + timings.queue_ms / 1e3)
        figures.prefill_s.add(timings.prompt_ms / 1e3)
        figures.whole_s.add(now_s - self._origin.arrived_s)
        figures.prompt_size.add(usage.prompt_tokens)
        if self._is_pooled:
            figures.finished["stop"] += 1
        else:
            figures.decode_s.add(timings.predicted_ms / 1e3)
            figures.answer_size.add(usage.completion_tokens)

    def _fail(self, figures: RequestFigures, kind: str) -> None:
        self._ended = True
        figures.failed[kind] += 1
