"""The engine: `step()` is schedule, run, postprocess. Requests are submitted and cancelled between steps."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from models.errors import CorralError, DecodeError, RequestError
from server.engine import integrity
from server.engine.batch import Batch
from server.engine.events import (
    ChoiceEnd,
    Delta,
    Event,
    Failure,
    FailureKind,
    FinishReason,
    Started,
)
from server.engine.prefix_cache import PrefixCache
from server.engine.request import EngineRequest, check_request
from server.engine.runner import ModelRunner
from server.engine.scheduler import Scheduler, SchedulerConfig
from server.engine.sequence import Group, Sequence, SequenceStatus
from server.engine.stats import EngineStats, ServiceTime

SEED_LIMIT = 2**32 - 1
"""Seeds are below this: llama.cpp takes the number itself for "any"."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    queue_size: int = 256
    """Sequences that may wait beyond those that find an idle slot."""
    prefill_chunk_tokens: int = 256
    prefill_tokens_alone: int = 512
    copy_tokens_min: int = 32


class Engine:
    """Continuous batching over a `ModelRunner`. Every submitted request gets exactly one terminal event.

    One thread calls it; `stats` and the properties may be read by any. `step` never raises for one
    request's sake. After a fatal `DecodeError` all requests have failed, `broken` holds the error and the
    runner is not to be used again.
    """

    def __init__(
        self, runner: ModelRunner, config: EngineConfig, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.stats = EngineStats()
        self.broken: DecodeError | None = None
        self._runner = runner
        self._config = config
        self._clock_s = clock_s
        self._cache = PrefixCache(
            runner.n_slots, can_trim=runner.can_trim, copy_tokens_min=config.copy_tokens_min
        )
        self._scheduler = Scheduler(
            self._cache,
            SchedulerConfig(
                n_batch=runner.n_batch,
                prefill_chunk_tokens=config.prefill_chunk_tokens,
                prefill_tokens_alone=config.prefill_tokens_alone,
                copy_tokens_min=config.copy_tokens_min,
            ),
        )
        self._groups: dict[str, Group] = {}
        self._sequences: dict[int, Sequence] = {}
        self._events: list[Event] = []
        self._service_time = ServiceTime()

    # --- requests ------------------------------------------------------------------------------------

    def submit(self, request: EngineRequest) -> None:
        """Take a request. One that can't be served fails at once; its events come with the next step."""
        try:
            if request.id in self._groups:
                raise RequestError(f"a request with the id '{request.id}' is running; ids must be unique")
            check_request(request, self._runner.n_ctx, self._runner.n_vocab)
            if self._refuse_when_full(request):
                return
            self._open(Group(request, self._runner.n_ctx, self._clock_s()))
        except CorralError as error:
            self._events.append(failure(request.id, error))

    def cancel(self, request_id: str) -> None:
        """End a request before the next step. An unknown id is ignored: it has ended already."""
        group = self._groups.get(request_id)
        if group is not None:
            self._fail(group, "cancelled", "the request was cancelled")

    def fail_all(self, message: str, *, running_kind: FailureKind = "server_error") -> list[Event]:
        """End every request, those that waited with `unavailable`; returns the last events there are."""
        for group in list(self._groups.values()):
            self._fail(group, "unavailable" if group.admitted_s is None else running_kind, message)
        return self._take_events()

    @property
    def has_work(self) -> bool:
        return bool(self._groups or self._events)

    @property
    def n_running(self) -> int:
        return len(self._scheduler.running)

    @property
    def n_waiting(self) -> int:
        return len(self._scheduler.waiting)

    @property
    def n_held_tokens(self) -> int:
        """Tokens in the KV cache, those that ended sequences left included."""
        return self._cache.n_held_tokens

    # --- the step ------------------------------------------------------------------------------------

    def step(self) -> list[Event]:
        """Compute one batch and return what has happened since the last step."""
        self._expire()
        batch = self._scheduler.schedule()
        self._note_admissions()
        if batch.entries:
            self._run(batch)
        return self._take_events()

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _run(self, batch: Batch) -> None:
        start_s = self._clock_s()
        try:
            tokens = self._runner.run(batch)
        except DecodeError as error:
            self._recover(error)
        else:
            self._postprocess(batch, tokens, start_s)

    def _postprocess(self, batch: Batch, tokens: list[int | CorralError], start_s: float) -> None:
        n_prompt = n_all = 0
        for entry in batch.entries:
            sequence = self._sequences[entry.sequence_id]
            n = len(entry.tokens)
            n_all += n
            sequence.n_computed += n
            if n > 1 or sequence.n_generated == 0:
                n_prompt += n
                sequence.group.n_computed_prompt += n
        now_s = self._clock_s()
        self.stats.add_step(n_prompt, n_all, len(tokens), now_s - start_s)
        for entry, token in zip(batch.outputs, tokens, strict=True):
            live = self._sequences.get(entry.sequence_id)
            if live is None:
                continue  # an error of another choice has ended its request
            if isinstance(token, CorralError):
                self._fail_with(live.group, token)
            else:
                self._append(live, token, now_s)

    def _append(self, sequence: Sequence, token: int, now_s: float) -> None:
        group = sequence.group
        if group.first_token_s is None:
            group.first_token_s = now_s
        sequence.tokens.append(token)
        if self._runner.is_eog(token):
            self._finish(sequence, "stop", sequence.stops.flush())
            return
        sequence.n_unreported += 1
        text = sequence.detokenizer.feed(self._runner.piece(token))
        if sequence.n_generated > group.request.params.min_tokens:
            text = sequence.stops.feed(text)
        if sequence.stops.matched is not None:
            self._finish(sequence, "stop", text)
        elif len(sequence.tokens) >= sequence.n_tokens_max:
            self._finish(sequence, "length", text + sequence.stops.flush())
        else:
            self._report(sequence, text)

    def _report(self, sequence: Sequence, text: str) -> None:
        """Tell of new text. Tokens that show nothing yet are told of with the next that does."""
        request = sequence.group.request
        if not text and not (request.return_tokens and sequence.n_unreported):
            return
        n = sequence.n_unreported
        tokens = tuple(sequence.tokens[len(sequence.tokens) - n :]) if request.return_tokens else ()
        self._events.append(Delta(id=request.id, index=sequence.index, text=text, n_tokens=n, tokens=tokens))
        sequence.n_unreported = 0

    # --- beginnings ----------------------------------------------------------------------------------

    def _refuse_when_full(self, request: EngineRequest) -> bool:
        n_waiting = self.n_waiting
        if n_waiting < self._config.queue_size + self._cache.n_idle:
            return False
        self._events.append(
            Failure(
                id=request.id,
                kind="busy",
                message=f"{n_waiting} requests are waiting, as many as may; try again later",
                code="rate_limit_exceeded",
                retry_after_s=self._service_time.retry_after_s(n_waiting, self._runner.n_slots),
            )
        )
        return True

    def _open(self, group: Group) -> None:
        params, prompt = group.request.params, group.request.prompt_tokens
        seed = secrets.randbelow(SEED_LIMIT) if params.seed is None else params.seed
        opened: list[Sequence] = []
        try:
            for sequence in group.sequences:
                self._runner.open(sequence.id, params, (seed + sequence.index) % SEED_LIMIT, prompt)
                opened.append(sequence)
        except CorralError:
            for sequence in opened:
                self._runner.close(sequence.id)
            raise
        self._groups[group.id] = group
        for sequence in group.sequences:
            self._sequences[sequence.id] = sequence
            self._scheduler.add(sequence)
        if params.max_tokens == 0:
            self._start(group, 0)
            for sequence in group.sequences:
                self._finish(sequence, "length", "")

    def _note_admissions(self) -> None:
        for sequence, n_cached in self._scheduler.admitted:
            self.stats.cached_tokens_total += n_cached
            if sequence.group.admitted_s is None:
                self._start(sequence.group, n_cached)

    def _start(self, group: Group, n_cached: int) -> None:
        request = group.request
        group.admitted_s = self._clock_s()
        group.n_cached = n_cached
        n_prompt = len(request.prompt_tokens)
        self._events.append(Started(id=request.id, prompt_tokens=n_prompt, cached_tokens=n_cached))
        if request.echo_text:
            for sequence in group.sequences:
                self._events.append(
                    Delta(id=request.id, index=sequence.index, text=request.echo_text, n_tokens=0)
                )

    # --- ends ----------------------------------------------------------------------------------------

    def _finish(self, sequence: Sequence, reason: FinishReason, text: str) -> None:
        self._report(sequence, text)
        group = sequence.group
        self._events.append(
            ChoiceEnd(id=group.id, index=sequence.index, finish_reason=reason, stop=sequence.stops.matched)
        )
        self._close(sequence)
        if group.is_finished:
            del self._groups[group.id]
            now_s = self._clock_s()
            self._service_time.add(now_s - (group.admitted_s or now_s))
            self._events.append(group.summary(now_s))

    def _fail_with(self, group: Group, error: CorralError) -> None:
        self._end(group, failure(group.id, error))

    def _fail(self, group: Group, kind: FailureKind, message: str, code: str | None = None) -> None:
        self._end(group, Failure(id=group.id, kind=kind, message=message, code=code))

    def _end(self, group: Group, event: Failure) -> None:
        for sequence in group.sequences:
            if sequence.status is not SequenceStatus.FINISHED:
                self._close(sequence)
        del self._groups[group.id]
        self._events.append(event)

    def _close(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        self._runner.close(sequence.id)
        del self._sequences[sequence.id]

    def _expire(self) -> None:
        now_s = self._clock_s()
        for group in list(self._groups.values()):
            if group.deadline_s is not None and now_s >= group.deadline_s:
                message = (
                    f"the request took longer than its time limit of {group.request.timeout_s:g} s; "
                    "raise the limit or ask for less"
                )
                self._fail(group, "unavailable", message, "timeout")

    def _recover(self, error: DecodeError) -> None:
        if error.status != 1:
            self.broken = error
            self._events = self.fail_all(f"the model failed while computing: {error.message}")
            return
        stuck = self._scheduler.make_room()
        self.stats.preemptions_total = self._scheduler.n_preemptions
        if stuck is None:
            return
        if stuck.n_generated > 0:
            self._finish(stuck, "length", stuck.stops.flush())
        else:
            self._fail_with(
                stuck.group,
                RequestError(
                    f"the prompt of {stuck.n_prompt} tokens finds no room in the KV cache; "
                    "shorten it or raise --ctx",
                    param=stuck.group.request.prompt_param,
                    code="context_length_exceeded",
                ),
            )

    def check_integrity(self) -> None:
        """AssertionError if the books disagree; for tests and idle moments."""
        integrity.check(self._scheduler, self._sequences, self._groups)


def failure(request_id: str, error: CorralError) -> Failure:
    """The terminal event of a request that `error` ended."""
    if isinstance(error, RequestError):
        return Failure(
            id=request_id, kind="invalid_request", message=error.message, param=error.param, code=error.code
        )
    return Failure(id=request_id, kind="server_error", message=error.message)
