"""The engine: `step()` is schedule, run, postprocess. Requests are submitted and cancelled between steps."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from models.errors import CorralError, DecodeError, RequestError, RestoreError
from server.engine import integrity
from server.engine.batch import Batch, BatchEntry, Output, Save
from server.engine.events import ChoiceEnd, Delta, Event, Failure, FailureKind, FinishReason
from server.engine.prefix_cache import PrefixCache
from server.engine.prefix_source import PrefixSource
from server.engine.report import delta, failure, prompt_scored, queue_full, started
from server.engine.request import EngineRequest, check_request
from server.engine.runner import ModelRunner
from server.engine.scheduler import Scheduler, SchedulerConfig
from server.engine.sequence import Group, Sequence, SequenceStatus
from server.engine.speculation import Speculation
from server.engine.stats import EngineStats, ServiceTime
from server.engine.step_times import StepTimes

SEED_LIMIT = 2**32 - 1
"""Seeds are below this: llama.cpp takes the number itself for "any"."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    queue_size: int = 256
    """Sequences that may wait beyond those that find an idle slot."""
    prefill_chunk_tokens: int = 512
    prefill_tokens_alone: int = 512
    gap_s: float = 0.2
    copy_tokens_min: int = 32


class Engine:
    """Continuous batching over a `ModelRunner`. Every submitted request gets exactly one terminal event.

    One thread calls it; `stats` and the properties may be read by any. `step` never raises for one
    request's sake. After a fatal `DecodeError` all requests have failed, `broken` holds the error and the
    runner is not to be used again.
    """

    def __init__(
        self,
        runner: ModelRunner,
        config: EngineConfig,
        clock_s: Callable[[], float] = time.monotonic,
        speculation: Speculation | None = None,
        prefixes: PrefixSource | None = None,
    ) -> None:
        self.stats = EngineStats()
        self.broken: DecodeError | None = None
        self.times = StepTimes()
        self._runner = runner
        self._config = config
        self._clock_s = clock_s
        self._prefixes = prefixes
        self._cache = PrefixCache(
            runner.n_slots,
            can_trim=runner.can_trim,
            copy_tokens_min=config.copy_tokens_min,
            holds=runner.holds if runner.n_swa else None,
            source=prefixes,
        )
        self._scheduler = Scheduler(
            self._cache,
            SchedulerConfig(
                n_batch=runner.n_batch,
                n_vocab=runner.n_vocab,
                prefill_chunk_tokens=config.prefill_chunk_tokens,
                prefill_tokens_alone=config.prefill_tokens_alone,
                gap_s=config.gap_s,
                copy_tokens_min=config.copy_tokens_min,
            ),
            self.times,
        )
        self._speculation = speculation if runner.can_trim else None
        self._groups: dict[str, Group] = {}
        self._sequences: dict[int, Sequence] = {}
        self._events: list[Event] = []
        self._service_time = ServiceTime()
        self._n_with_deadline = 0

    # --- requests ------------------------------------------------------------------------------------

    def submit(self, request: EngineRequest) -> None:
        """Take a request. One that can't be served fails at once; its events come with the next step."""
        try:
            if request.id in self._groups:
                raise RequestError(f"a request with the id '{request.id}' is running; ids must be unique")
            check_request(request, self._runner.n_ctx, self._runner.n_vocab)
            if self.n_waiting >= self._config.queue_size + self._cache.n_idle:
                retry_after_s = self._service_time.retry_after_s(self.n_waiting, self._runner.n_slots)
                self._events.append(queue_full(request.id, self.n_waiting, retry_after_s))
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
        if self._n_with_deadline:
            self._expire()
        if self._speculation is not None:
            self._speculation.draft(self._scheduler.running, self.times, self._runner.n_batch)
        batch = self._schedule()
        if batch.entries:
            self._run(batch)
        elif self._prefixes is not None and self._scheduler.waiting:
            self._prefixes.wait()  # there is nothing to do until a prefix has been read
        return self._take_events()

    def _schedule(self) -> Batch:
        batch = self._scheduler.schedule()
        if self._scheduler.admitted:
            self._note_admissions()
        return batch

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _run(self, batch: Batch) -> None:
        start_s = self._clock_s()
        try:
            outputs = self._runner.run(batch)
        except RestoreError as error:
            self._start_over(error.slots)
            again = self._schedule()
            if again.entries:
                self._run(again)
        except DecodeError as error:
            self._recover(error)
        else:
            self._postprocess(batch, outputs, start_s)

    def _postprocess(self, batch: Batch, outputs: list[Output | CorralError], start_s: float) -> None:
        now_s = self._clock_s()
        n_prompt = n_all = n_generated = at = 0
        failed: dict[str, CorralError] = {}
        for entry in batch.entries:
            n = len(entry.tokens)
            n_all += n
            output: Output | CorralError | None = None
            if entry.n_outputs or entry.targets is not None:
                output = outputs[at]
                at += 1
            sequence = self._sequences[entry.sequence_id]
            if n > entry.n_outputs or sequence.n_generated == 0:
                n_prompt += n
                sequence.group.n_computed_prompt += n
            sequence.n_computed += n
            if isinstance(output, Output):
                n_generated += len(output.tokens)
                self._take(sequence, entry, output, now_s)
            elif output is not None:
                failed.setdefault(sequence.group.id, output)
        for request_id, error in failed.items():  # last: the tokens of its other choices are computed too
            self._end(self._groups[request_id], failure(request_id, error))
        seconds = now_s - start_s
        self.stats.add_step(n_prompt, n_all, n_generated, seconds)
        self.times.add(n_all, n_prompt, seconds)

    def _take(self, sequence: Sequence, entry: BatchEntry, output: Output, now_s: float) -> None:
        """What the run gave a sequence: scores of its prompt, accepted tokens of its draft, a new token."""
        group = sequence.group
        if output.scores is not None:
            del group.scores[entry.position :]
            group.scores += output.scores
            if sequence.n_computed >= sequence.n_prompt:
                sequence.scores_prompt = False
                self._events.append(prompt_scored(group, self._runner.shown))
        n_drafted = entry.n_outputs - 1
        if n_drafted > 0:
            n_accepted = len(output.tokens) - 1
            group.n_drafted += n_drafted
            group.n_accepted += n_accepted
            sequence.draft = []
            if n_accepted < n_drafted:
                sequence.n_computed -= n_drafted - n_accepted
                self._scheduler.trim(sequence)
        if output.tokens:
            if group.first_token_s is None:
                group.first_token_s = now_s
            if output.logprobs is not None:
                sequence.logprobs += output.logprobs
            self._append(sequence, output.tokens)
        elif sequence.n_computed >= sequence.n_tokens_max:  # nothing was to be generated, only scored
            for choice in group.sequences:
                self._finish(choice, "length", "")

    def _append(self, sequence: Sequence, tokens: list[int]) -> None:
        """Add generated tokens, up to the one that ends the sequence, and tell of their text."""
        text, request = "", sequence.group.request
        min_tokens = request.params.min_tokens
        for token in tokens:
            sequence.tokens.append(token)
            if self._runner.is_eog(token):
                sequence.n_unreported += request.score_prompt  # scoring counts every generated token
                self._finish(sequence, "stop", text + sequence.stops.flush())
                return
            sequence.n_unreported += 1
            new = sequence.detokenizer.feed(self._runner.piece(token))
            if sequence.n_generated > min_tokens:
                new = sequence.stops.feed(new)
            text += new
            if sequence.stops.matched is not None:
                self._finish(sequence, "stop", text)
                return
            if len(sequence.tokens) >= sequence.n_tokens_max:
                self._finish(sequence, "length", text + sequence.stops.flush())
                return
        if text or request.return_tokens:
            self._events.append(delta(sequence, text))

    # --- beginnings ----------------------------------------------------------------------------------

    def _open(self, group: Group) -> None:
        params, prompt = group.request.params, group.request.prompt_tokens
        seed = secrets.randbelow(SEED_LIMIT) if params.seed is None else params.seed
        opened: list[Sequence] = []
        try:
            for sequence in group.sequences:
                own_seed = (seed + sequence.index) % SEED_LIMIT
                self._runner.open(sequence.id, params, own_seed, prompt, group.request.n_probs)
                opened.append(sequence)
        except CorralError:
            for sequence in opened:
                self._runner.close(sequence.id)
            raise
        self._groups[group.id] = group
        self._n_with_deadline += group.deadline_s is not None
        for sequence in group.sequences:
            self._sequences[sequence.id] = sequence
            self._scheduler.add(sequence)
        if params.max_tokens == 0 and not group.request.score_prompt:
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
        self._events.append(started(request, n_cached))
        if request.echo_text:
            for sequence in group.sequences:
                self._events.append(
                    Delta(id=request.id, index=sequence.index, text=request.echo_text, n_tokens=0)
                )

    # --- ends ----------------------------------------------------------------------------------------

    def _finish(self, sequence: Sequence, reason: FinishReason, text: str) -> None:
        group = sequence.group
        if text or (sequence.n_unreported and group.request.wants_tokens):
            self._events.append(delta(sequence, text))
        self._events.append(
            ChoiceEnd(id=group.id, index=sequence.index, finish_reason=reason, stop=sequence.stops.matched)
        )
        self._close(sequence)
        if group.is_finished:
            self._forget(group)
            now_s = self._clock_s()
            self._service_time.add(now_s - (group.admitted_s or now_s))
            self._events.append(group.summary(now_s))

    def _fail(self, group: Group, kind: FailureKind, message: str, code: str | None = None) -> None:
        self._end(group, Failure(id=group.id, kind=kind, message=message, code=code))

    def _end(self, group: Group, event: Failure) -> None:
        for sequence in group.sequences:
            if sequence.status is not SequenceStatus.FINISHED:
                self._close(sequence)
        self._forget(group)
        self._events.append(event)

    def _forget(self, group: Group) -> None:
        del self._groups[group.id]
        self._n_with_deadline -= group.deadline_s is not None

    def _close(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        self._runner.close(sequence.id)
        if self._speculation is not None:
            self._speculation.close(sequence)
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
        if self._speculation is not None and self._speculation.withdraw(self._scheduler.running):
            return  # without the guesses there may be room
        stuck = self._scheduler.make_room()
        self.stats.preemptions_total = self._scheduler.n_preemptions
        if stuck is None:
            return
        if stuck.n_generated > 0:
            self._finish(stuck, "length", stuck.stops.flush())
        else:
            error_ = RequestError(
                f"the prompt of {stuck.n_prompt} tokens finds no room in the KV cache; "
                "shorten it or raise --ctx",
                param=stuck.group.request.prompt_param,
                code="context_length_exceeded",
            )
            self._end(stuck.group, failure(stuck.group.id, error_))

    def _start_over(self, slots: frozenset[int]) -> None:
        """These slots are empty: what should have been restored there is computed."""
        for slot in slots:
            owner = self._cache.slots[slot].owner
            if owner is not None:
                self.stats.cached_tokens_total -= owner.n_computed
                if not owner.group.n_computed_prompt:
                    owner.group.n_cached = 0
            self._cache.restart(slot)

    def leftovers(self) -> Iterator[Save]:
        """What the KV cache holds that is worth keeping when the engine ends; for `ModelRunner.save`."""
        return self._cache.leftovers()

    def check_integrity(self) -> None:
        """AssertionError if the books disagree; for tests and idle moments."""
        integrity.check(self._scheduler, self._sequences, self._groups)
        n_with_deadline = sum(group.deadline_s is not None for group in self._groups.values())
        assert self._n_with_deadline == n_with_deadline, "time limits are miscounted"
