"""`RequestMeter`: measures one request by the events that pass on their way to the client."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable

from models.errors import RequestError, WorkerBusy
from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Started
from server.metrics.figures import FigureBook, RequestFigures
from server.metrics.histogram import GAP_BOUNDS_S, Histogram
from server.metrics.origin import Origin


class RequestMeter:
    """Writes what it sees into a `FigureBook`, from the moment it knows the model (`assign`).

    What a client was told and what is counted agree: tokens and times are those of the events. Each request
    ends once, by its terminal event or by `end`. `now_s` is the time at which an event came, by the clock.
    """

    __slots__ = (
        "_assigned_s",
        "_book",
        "_clock_s",
        "_ended",
        "_figures",
        "_gaps",
        "_last_s",
        "_n_counted",
        "_n_uncached",
        "_origin",
        "_wait_s",
    )

    def __init__(
        self, book: FigureBook, origin: Origin, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._book = book
        self._origin = origin
        self._clock_s = clock_s
        self._figures: RequestFigures | None = None
        self._gaps = Histogram(GAP_BOUNDS_S)
        self._assigned_s = 0.0
        self._wait_s = 0.0
        self._last_s: dict[int, float] = {}
        """The time of each choice's latest token."""
        self._n_counted = 0
        """The generated tokens that were counted as they came."""
        self._n_uncached = 0
        self._ended = False

    def assign(self, model: str, type_: str | None) -> None:
        """Note that this file's worker is wanted. A second time, a first one has died."""
        self._figures = self._book.of_requests(model, type_, self._origin.arm)
        self._gaps = self._figures.between_tokens_s
        if not self._assigned_s:
            self._assigned_s = self._clock_s()

    def sent(self) -> None:
        """Note that the worker was found, and has the request now."""
        self._wait_s = self._clock_s() - self._assigned_s

    def on_token(self, event: Delta, now_s: float) -> None:
        """Count new tokens. It is called for every chunk of every stream, so it does as little as it can."""
        index, last_s = event.index, self._last_s
        if event.n_tokens != 1 or index not in last_s:
            self._on_rare_token(event, now_s)
            return
        gaps = self._gaps
        gap_s = now_s - last_s[index]
        last_s[index] = now_s
        gaps.total += gap_s
        gaps.counts[bisect_left(GAP_BOUNDS_S, gap_s)] += 1
        self._n_counted += 1

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
        """Count a request that ends without a terminal event; after one, do nothing."""
        if self._figures is None or self._ended:
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

    def _on_rare_token(self, event: Delta, now_s: float) -> None:
        """Count what isn't one token after another."""
        index, n = event.index, event.n_tokens
        if not n or event.is_prompt:
            return
        if index not in self._last_s:
            self._begin_choice(index, n, now_s)
            return
        gap_s = now_s - self._last_s[index]
        self._last_s[index] = now_s
        self._gaps.add(gap_s / n, n)
        self._n_counted += n

    def _start(self, figures: RequestFigures, event: Started) -> None:
        self._n_uncached = event.prompt_tokens - event.cached_tokens
        figures.prompt_tokens += event.prompt_tokens
        figures.cached_tokens += event.cached_tokens

    def _begin_choice(self, index: int, n: int, now_s: float) -> None:
        """Count a choice's first tokens: the request's wait for them, and those that came with the first."""
        figures = self._figures
        assert figures is not None
        if not self._last_s:
            figures.first_token_s.add(now_s - self._origin.arrived_s)
            figures.computed_tokens += self._n_uncached
        figures.other_tokens += 1  # the others are counted by their gaps
        if n > 1:
            figures.between_tokens_s.add(0.0, n - 1)
        self._last_s[index] = now_s
        self._n_counted += n

    def _finish(self, figures: RequestFigures, event: Finish, now_s: float) -> None:
        self._ended = True
        usage, timings = event.usage, event.timings
        figures.other_tokens += max(0, usage.completion_tokens - self._n_counted)
        counted = self._n_uncached if self._last_s else 0
        figures.computed_tokens += max(0, timings.prompt_n - counted)
        figures.prompt_s += timings.prompt_ms / 1e3
        figures.generated_s += timings.predicted_ms / 1e3
        figures.draft_tokens += timings.draft_n
        figures.accepted_tokens += timings.draft_n_accepted
        figures.longest = max(figures.longest, usage.prompt_tokens + usage.completion_tokens)
        figures.queue_s.add(self._wait_s + timings.queue_ms / 1e3)
        figures.prefill_s.add(timings.prompt_ms / 1e3)
        figures.decode_s.add(timings.predicted_ms / 1e3)
        figures.whole_s.add(now_s - self._origin.arrived_s)
        figures.prompt_size.add(usage.prompt_tokens)
        figures.answer_size.add(usage.completion_tokens)

    def _fail(self, figures: RequestFigures, kind: str) -> None:
        self._ended = True
        figures.failed[kind] += 1
