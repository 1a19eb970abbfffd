"""`PooledEngine`: many requests for vectors share each step of one `PooledRunner`.

A step takes a text from each request in turn until it is full, the longest that fits of each, and of several
owners in equal shares (`turns.py`): so a request of one text waits for a step, not for another's thousands. A
text that is longer than a step has steps alone.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from models.errors import CorralError, DecodeError, RequestError
from server.engine.event_factory import cancelled_failure, error_failure, queue_full_failure, timeout_failure
from server.engine.events import (
    Event,
    Failure,
    FailureKind,
    Finish,
    Meaning,
    Started,
    Timings,
    Usage,
    Vectors,
)
from server.engine.patience import ATTENTION_TOKENS, LEAST_S, TIMES, UNKNOWN_S, StepWatch
from server.engine.slot_states import SlotState
from server.engine.stats import EngineStats, ServiceTime
from server.worker.pooled.pace import Pace, Turn
from server.worker.pooled.request import PooledRequest
from server.worker.pooled.runner import PooledRunner, PooledText
from server.worker.pooled.turns import Turns
from server.worker.pooled.vectors import Floats, cosines, normalized, shortened


@dataclass
class _Live:
    """A request that has not ended."""

    request: PooledRequest
    submitted_s: float
    todo: list[tuple[int, int]]
    """(tokens, index) of the texts that aren't begun, the longest last."""
    n_left: int
    """The number of texts that aren't complete."""
    begun_s: float | None = None
    vectors: dict[int, Floats] = field(default_factory=dict)
    """Vectors that are kept to be compared."""


class PooledEngine:
    """Gives every submitted request exactly one terminal event. One thread calls it; any may read properties.

    After a `DecodeError` all requests have failed, and `fatal_error` holds the error.
    """

    def __init__(
        self,
        runner: PooledRunner,
        queue_size: int,
        clock_s: Callable[[], float] = time.monotonic,
        watch: StepWatch | None = None,
    ) -> None:
        self.stats = EngineStats()
        self.fatal_error: DecodeError | None = None
        self.gives_way = False
        """True while other models' answers go first. Set by any thread."""
        self._runner = runner
        self._queue_size = queue_size
        self._clock_s = clock_s
        self._watch = watch
        self._live: dict[str, _Live] = {}
        self._events: list[Event] = []
        self._service_time = ServiceTime()
        self._pace = Pace(runner.n_step_tokens)
        self._turns = Turns()

    # --- requests ------------------------------------------------------------------------------------

    def submit(self, request: PooledRequest) -> None:
        """Accept a request. One that can't be served fails at once; its events come with the next step."""
        try:
            if request.id in self._live:
                raise RequestError(f"a request with the id '{request.id}' is running; ids must be unique")
            if self._turns.is_full_for(request, self._queue_size + 1):
                retry_after_s = self._service_time.retry_after_s(self.n_waiting, 1)
                self._events.append(queue_full_failure(request.id, self.n_waiting, retry_after_s))
                return
        except CorralError as error:
            self._events.append(error_failure(request.id, error))
            return
        todo = sorted((len(tokens), index) for index, tokens in enumerate(request.texts))
        self._live[request.id] = _Live(request, self._clock_s(), todo, len(todo))
        self._turns.shares_of(request).add(request.owner)

    def cancel(self, request_id: str) -> None:
        """End a request before the next step. An unknown id is ignored: that request has ended already."""
        if request_id in self._live:
            self._end(request_id, cancelled_failure(request_id))

    def fail_all(self, message: str, *, running_kind: FailureKind = "server_error") -> list[Event]:
        """End every request, those that waited with `unavailable`, and return the last events there are."""
        self._end_all(message, running_kind)
        return self._take_events()

    def _end_all(self, message: str, running_kind: FailureKind) -> None:
        for live in list(self._live.values()):
            kind: FailureKind = "unavailable" if live.begun_s is None else running_kind
            self._end(live.request.id, Failure(id=live.request.id, kind=kind, message=message))

    @property
    def has_work(self) -> bool:
        """True if a request has not ended, or an event has not been returned."""
        return bool(self._live or self._events)

    @property
    def n_running(self) -> int:
        """The number of requests of which texts are being computed, or were."""
        return sum(live.begun_s is not None for live in list(self._live.values()))

    @property
    def n_waiting(self) -> int:
        """The number of requests of which no text was begun."""
        return sum(live.begun_s is None for live in list(self._live.values()))

    @property
    def n_held_tokens(self) -> int:
        """0: nothing is kept between steps."""
        return 0

    # --- the step ------------------------------------------------------------------------------------

    def step(self) -> list[Event]:
        """Compute one batch and return what has happened since the last step."""
        self._expire()
        turn = self._pace.turn(self._clock_s(), gives_way=self.gives_way)
        if not self._runner.n_left and (texts := self._take_texts(turn)):
            self._runner.begin(texts)
        if self._runner.n_left:
            self._run(turn)
        return self._take_events()

    def slot_states(self) -> list[SlotState]:
        """Return nothing: a text has a slot for one step alone."""
        return []

    def check_integrity(self) -> None:
        """Raise AssertionError if the books disagree; for tests and idle moments."""
        self._turns.check([(live.request, live.begun_s is not None) for live in self._live.values()])
        for live in self._live.values():
            assert len(live.todo) <= live.n_left, live.request.id
        assert self._live or not self._runner.n_left

    def _run(self, turn: Turn) -> None:
        start_s, n_before = self._clock_s(), self._runner.n_left
        try:
            self._announce(turn)
            complete = self._runner.advance(turn.room, idle=turn.idle)
        except DecodeError as error:
            self.fatal_error = error
            self._runner.drop()
            self._end_all(f"the model failed while computing: {error.message}", "server_error")
            return
        if self._watch is not None:
            self._watch.busy()
        n_tokens = n_before - self._runner.n_left
        end_s = self._clock_s()
        self.stats.add_step(n_tokens, n_tokens, 0, end_s - start_s)
        self._pace.took(turn, n_tokens, end_s - start_s, end_s)
        by_request: dict[str, list[PooledText]] = {}
        for text in complete:
            by_request.setdefault(text.request_id, []).append(text)
        for request_id, texts in by_request.items():
            live = self._live.get(request_id)
            if live is not None:
                self._deliver(live, texts)

    def _announce(self, turn: Turn) -> None:
        """Tell of the step that begins. One that others leave no core may take long, and so may the first."""
        if self._watch is None:
            return
        runner, token_s = self._runner, self._pace.token_s
        n_tokens = runner.n_left
        if runner.pooling.is_causal:
            n_tokens = min(n_tokens, turn.room, runner.n_step_tokens)
        if token_s is None or turn.idle:
            self._watch.begin(n_tokens, 0.0, UNKNOWN_S)
            return
        n_longest = max(len(text.tokens) for text in runner.texts)
        expected_s = n_tokens * token_s * (1.0 + n_longest / ATTENTION_TOKENS)
        self._watch.begin(n_tokens, expected_s, max(LEAST_S, TIMES * expected_s))

    def _take_texts(self, turn: Turn) -> list[PooledText]:
        """Take the texts of the next step, by priority and in turns."""
        waiting = [live for live in self._live.values() if live.todo]
        if not waiting:
            return []
        best = min(live.request.priority for live in waiting)
        waiting = [live for live in waiting if live.request.priority == best]
        room = turn.room
        taken: list[PooledText] = []
        turns = self._turns.of_step(waiting)
        for live in turns:
            text = self._take_text(live, turn, room, is_first=not taken)
            if text is None:
                continue
            taken.append(text)
            room -= len(text.tokens)
            turns.took(live, len(text.tokens), has_more=bool(live.todo))
            if len(taken) == self._runner.n_sequences:
                break
        return taken

    def _take_text(self, live: _Live, turn: Turn, room: int, *, is_first: bool) -> PooledText | None:
        """Take the longest text of a request that fits into `room` tokens; the step's first in any case.

        The first of all is the longest, so that it doesn't come last, or one that fits for who gives way.
        """
        at = bisect_right(live.todo, (room, len(live.request.texts)))
        if is_first:
            at = max(at, 1) if turn.gives_way else len(live.todo)
        if at == 0:
            return None
        _, index = live.todo.pop(at - 1)
        request = live.request
        if live.begun_s is None:
            live.begun_s = self._clock_s()
            self._turns.shares_of(request).enter(request.owner)
            self._events.append(Started(id=request.id, prompt_tokens=request.n_tokens, cached_tokens=0))
        n_first = request.n_first[index] if request.n_first else None
        return PooledText(request.id, index, request.texts[index], request.wants_rows, n_first)

    def _deliver(self, live: _Live, texts: list[PooledText]) -> None:
        request = live.request
        live.n_left -= len(texts)
        results = [text.result for text in texts if text.result is not None]
        if request.pairs:
            live.vectors |= {text.index: result for text, result in zip(texts, results, strict=True)}
        else:
            indices = tuple(text.index for text in texts)
            self._events.append(self._event(request, indices, results))
        if live.n_left:
            return
        if request.pairs:
            vectors = np.concatenate([live.vectors[i] for i in range(len(live.vectors))])
            scores = cosines(shortened(vectors, request.dimensions), request.pairs)
            places = tuple(range(len(scores)))
            self._events.append(_event(request.id, places, (1,) * len(places), scores[:, None], "cosine"))
        self._finish(live)

    def _event(self, request: PooledRequest, indices: tuple[int, ...], results: list[Floats]) -> Vectors:
        pooling = self._runner.pooling
        if pooling.name == "rank":
            meaning: Meaning = "probability" if pooling.gives_probability else "logit"
            return _event(request.id, indices, (1,) * len(results), np.concatenate(results), meaning)
        rows = normalized(shortened(np.concatenate(results), request.dimensions), request.norm)
        counts = tuple(map(len, results))
        return _event(request.id, indices, counts, rows, "rows" if request.wants_rows else "vector")

    def _finish(self, live: _Live) -> None:
        request, now_s = live.request, self._clock_s()
        begun_s = live.begun_s if live.begun_s is not None else now_s
        self._forget(request.id)
        self._service_time.add(now_s - begun_s)
        timings = Timings(
            queue_ms=(begun_s - live.submitted_s) * 1e3,
            prompt_n=request.n_tokens,
            prompt_ms=(now_s - begun_s) * 1e3,
            predicted_n=0,
            predicted_ms=0.0,
        )
        usage = Usage(prompt_tokens=request.n_tokens, completion_tokens=0)
        self._events.append(Finish(id=request.id, usage=usage, timings=timings))

    def _end(self, request_id: str, failure: Failure) -> None:
        self._forget(request_id)
        self._events.append(failure)
        if not any(text.request_id in self._live for text in self._runner.texts):
            self._runner.drop()

    def _forget(self, request_id: str) -> None:
        live = self._live.pop(request_id)
        shares = self._turns.shares_of(live.request)
        if live.begun_s is not None:
            shares.leave(live.request.owner)
        shares.remove(live.request.owner)

    def _expire(self) -> None:
        now_s = self._clock_s()
        for live in list(self._live.values()):
            limit_s = live.request.timeout_s
            if limit_s is not None and now_s >= live.submitted_s + limit_s:
                self._end(live.request.id, timeout_failure(live.request.id, limit_s))

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events


def _event(
    request_id: str, indices: tuple[int, ...], n_rows: tuple[int, ...], rows: Floats, meaning: Meaning
) -> Vectors:
    return Vectors(
        id=request_id,
        indices=indices,
        n_rows=n_rows,
        width=rows.shape[1],
        data=rows.astype("<f4").tobytes(),
        meaning=meaning,
    )
