"""The engine: one `step` drafts, schedules, runs and postprocesses a batch over all requests.

Requests are submitted and cancelled between steps. The worker's loop calls it; it knows neither HTTP nor C.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from models.errors import CorralError, DecodeError, RequestError, RestoreError
from server.engine import integrity
from server.engine.answers import Answers
from server.engine.batch import Batch, BatchEntry, Checkpoint, Output, Save
from server.engine.event_factory import (
    cancelled_failure,
    error_failure,
    no_room_error,
    progress_event,
    prompt_scored_event,
    queue_full_failure,
)
from server.engine.events import WORKER_DIED, Event, Failure, FailureKind
from server.engine.patience import Patience, StepWatch
from server.engine.prefix.checkpoints import Checkpoints
from server.engine.prefix.prefix_cache import PrefixCache
from server.engine.prefix.prefix_source import PrefixSource
from server.engine.request import EngineRequest, check_request, check_slot
from server.engine.request_table import RequestTable
from server.engine.runner import ModelRunner
from server.engine.scheduling.kv_layout import KVLayoutPolicy
from server.engine.scheduling.passes import Passes
from server.engine.scheduling.prompt_budget import CHUNK_MULTIPLE, SchedulerConfig
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import Sequence
from server.engine.slot_contents import SlotContents
from server.engine.slot_states import SlotState, slot_states
from server.engine.snapshot import EngineSnapshot, take_snapshot
from server.engine.speculation.speculation import Drafting
from server.engine.speculation.step_cost import StepCost
from server.engine.stats import EngineStats


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Limits of the queue, of a step's prompt tokens and time, and of what is worth a copy."""

    queue_size: int = 256
    """So many sequences may wait beyond those that find an idle slot."""
    prefill_chunk_tokens: int = 512
    """A step has at most so many prompt tokens while other sequences generate."""
    prefill_tokens_alone: int = 512
    """A step has at most so many prompt tokens while no sequence generates."""
    gap_s: float = 0.2
    """A step with prompt tokens may take so many seconds while others generate (see `SchedulerConfig`)."""
    copy_tokens_min: int = 32
    """A prefix is copied from another slot, or waited for, if that saves at least so many tokens."""
    chunk_multiple: int = CHUNK_MULTIPLE
    """Chunks of prompts in steps in which others generate are a multiple of so many tokens."""
    loop_tokens: int = 0
    """An answer ends if its last so many tokens are one passage again and again; 0: it goes on."""
    checkpoint_tokens: int = 512
    """The state of a slot that can't be trimmed is kept at the ends of turns, and each so many tokens."""
    checkpoint_bytes: int = 0
    """So many bytes of those states are kept at most; 0: none."""
    divide_after_steps: int = 256
    """KV cells that a long sequence had slots share are divided again after so many steps without one."""


class Engine:
    """Continuous batching over a `ModelRunner`. Every submitted request gets exactly one terminal event.

    One thread calls it; `stats` and the properties may be read by any. `step` never raises for one
    request's sake. After a fatal `DecodeError` all requests have failed, `fatal_error` holds the error and
    the runner is not to be used again.
    """

    def __init__(
        self,
        runner: ModelRunner,
        config: EngineConfig,
        clock_s: Callable[[], float] = time.monotonic,
        speculation: Drafting | None = None,
        prefixes: PrefixSource | None = None,
        step_cost: StepCost | None = None,
        watch: StepWatch | None = None,
    ) -> None:
        """`step_cost`: what is known of the cost of steps; None: nothing yet. `watch` hears of each step."""
        self.stats = EngineStats()
        self.fatal_error: DecodeError | None = None
        self.step_cost = StepCost() if step_cost is None else step_cost
        self._runner = runner
        self._config = config
        self._clock_s = clock_s
        self._watch = watch
        self._patience = Patience(self.step_cost)
        self._end_s = 0.0  # of the last run
        self._draft_s = 0.0  # seconds that the last drafts took
        self._prefixes = prefixes
        self._cache = PrefixCache(
            runner.n_slots,
            can_trim=runner.can_trim,
            copy_tokens_min=config.copy_tokens_min,
            holds=runner.holds if runner.n_swa else None,
            source=prefixes,
            checkpoints=_checkpoints(runner, config),
        )
        self._scheduler = Scheduler(
            self._cache,
            SchedulerConfig(
                n_batch=runner.n_batch,
                n_vocab=runner.n_vocab,
                n_stream=runner.n_stream,
                prefill_chunk_tokens=config.prefill_chunk_tokens,
                prefill_tokens_alone=config.prefill_tokens_alone,
                gap_s=config.gap_s,
                copy_tokens_min=config.copy_tokens_min,
                chunk_multiple=config.chunk_multiple,
            ),
            self.step_cost,
            KVLayoutPolicy(runner.n_stream, config.divide_after_steps)
            if runner.n_stream < runner.n_ctx
            else None,
            Passes(self.step_cost) if runner.can_pad else None,
        )
        self._speculation = speculation if runner.can_trim else None
        self.slot_contents = SlotContents(self._scheduler)
        """The tokens of idle slots, for whoever keeps them or brings them back."""
        self._requests = RequestTable(runner, self._scheduler, self._speculation, clock_s)
        self._answers = Answers(
            runner, self._scheduler, self._requests, self._speculation, config.loop_tokens
        )

    # --- requests ------------------------------------------------------------------------------------

    def submit(self, request: EngineRequest) -> None:
        """Accept a request. One that can't be served fails at once; its events come with the next step."""
        requests = self._requests
        try:
            if request.id in requests.groups:
                raise RequestError(f"a request with the id '{request.id}' is running; ids must be unique")
            check_request(request, self._runner.n_ctx, self._runner.n_vocab)
            if request.slot is not None:
                check_slot(request.slot, self._runner.n_slots)
            is_new = request.resumption is None  # one that goes on was admitted once
            if is_new and self._scheduler.is_full_for(
                request.priority, request.owner, self._config.queue_size
            ):
                retry_after_s = self._retry_after_s(request.priority)
                requests.report(queue_full_failure(request.id, self.n_waiting, retry_after_s))
            else:
                requests.add(request)
        except CorralError as error:
            requests.report(error_failure(request.id, error))

    def _retry_after_s(self, priority: int) -> float:
        """Return the seconds until half of those who wait before a request of this priority have been served.

        By how long requests have taken, and by what the waiting prompts cost: the longer of the two, as the
        one knows of answers, and the other of prompts that are longer than those before.
        """
        waiting = self._scheduler.waiting_before(priority)
        served_s = self._requests.service_time.retry_after_s(len(waiting), self._runner.n_slots)
        n_tokens = sum(sequence.n_pending for sequence in waiting)
        return max(served_s, (self.step_cost.prompt_token_s or 0.0) * n_tokens / 2)

    def cancel(self, request_id: str) -> None:
        """End a request before the next step. An unknown id is ignored: that request has ended already."""
        group = self._requests.groups.get(request_id)
        if group is not None:
            self._requests.end(group, cancelled_failure(request_id))

    def fail_all(self, message: str, *, running_kind: FailureKind = "server_error") -> list[Event]:
        """End every request, those that waited with `unavailable`, and return the last events there are."""
        self._end_all(message, running_kind)
        return self._requests.take_events()

    def _end_all(self, message: str, running_kind: FailureKind) -> None:
        self._note_admissions(self._clock_s())  # of a run that didn't come back
        code = WORKER_DIED if running_kind == "server_error" else None  # nothing runs here any more
        for group in list(self._requests.groups.values()):
            kind: FailureKind = "unavailable" if group.admitted_s is None else running_kind
            self._requests.end(group, Failure(id=group.id, kind=kind, message=message, code=code))

    @property
    def has_work(self) -> bool:
        """True if a request has not ended, or an event has not been returned."""
        return self._requests.has_work

    @property
    def n_running(self) -> int:
        """The number of sequences that have a slot."""
        return len(self._scheduler.running)

    @property
    def n_waiting(self) -> int:
        """The number of sequences that wait for a slot."""
        return len(self._scheduler.waiting)

    @property
    def n_held_tokens(self) -> int:
        """The number of tokens in the KV cache, those that ended sequences left included."""
        return self._cache.n_held_tokens

    # --- the step ------------------------------------------------------------------------------------

    def step(self) -> list[Event]:
        """Compute one batch and return what has happened since the last step."""
        if self._requests.n_with_deadline:
            self._requests.expire()
        if self._speculation is not None:
            start_s = self._clock_s()
            self._speculation.draft(
                self._scheduler.running, self.step_cost, self._runner.n_batch, self._scheduler.passes
            )
            self._draft_s = self._clock_s() - start_s
        batch = self._scheduler.schedule()
        self.stats.preemptions_total = self._scheduler.n_preemptions
        if batch.entries:
            self._run(batch)
        elif self._prefixes is not None and self._scheduler.waiting:
            self._prefixes.wait()  # there is nothing to do until a prefix has been read
        return self._requests.take_events()

    def _run(self, batch: Batch) -> None:
        start_s = self._clock_s()
        if self._watch is not None:
            allowed = self._patience.allowance(batch)
            self._watch.begin(allowed.n_tokens, allowed.expected_s, allowed.limit_s)
        try:
            outputs = self._runner.run(batch)
        except RestoreError as error:
            for slot in error.slots:  # what should have been restored there is computed
                self._cache.restart(slot)
            again = self._scheduler.schedule()
            if again.entries:
                self._run(again)
        except DecodeError as error:
            self._note_admissions(start_s)
            self._recover(error)
        else:
            self.stats.rewinds_total += batch.n_rewinds
            self._note_admissions(start_s)
            self._postprocess(batch, outputs, start_s)
            if self._watch is not None:
                self._patience.note_end()
        if self._watch is not None:
            self._watch.busy()

    def _note_admissions(self, start_s: float) -> None:
        """Count and report the sequences that were given a slot for the run that began at `start_s`.

        The run has made its changes to the KV cache, so they have found there what they were to find.
        """
        admitted = self._scheduler.admitted
        if not admitted:
            return
        for sequence in admitted:
            self.stats.cached_tokens_total += sequence.n_computed
            if sequence.group.admitted_s is None:
                self._requests.admit(sequence.group, sequence.n_computed, start_s)
        admitted.clear()

    def _postprocess(self, batch: Batch, outputs: list[Output | CorralError], start_s: float) -> None:
        """Count what was computed, give each sequence its output, record the step's time."""
        now_s = self._clock_s()
        sequences, shares = self._requests.sequences, self._scheduler.precedence.shares
        n_prompt = n_all = n_generated = at = 0
        failures: dict[str, CorralError] = {}
        for entry in batch.entries:
            n = len(entry.tokens)
            n_all += n
            output: Output | CorralError | None = None
            if entry.has_result:
                output = outputs[at]
                at += 1
            sequence = sequences[entry.sequence_id]
            if entry.image is not None and isinstance(output, CorralError):
                self._cache.restart(entry.slot)
                failures.setdefault(sequence.group.id, output)
                continue
            n_answer = entry.n_outputs + sequence.n_forced if entry.n_outputs else 0
            if n > n_answer or sequence.n_generated == 0:
                n_prompt += n
                if sequence.n_generated == 0:  # what is computed again later is in no prompt's time
                    sequence.group.n_computed_prompt += n
            sequence.n_computed += n
            if sequence.group.request.tells_progress:
                self._tell_progress(sequence, now_s)
            shares.count(sequence.owner, n)
            if isinstance(output, Output):
                n_generated += len(output.tokens) + len(output.forced)
                self._apply_output(sequence, entry, output, now_s)
            elif output is not None:
                failures.setdefault(sequence.group.id, output)
            self._keep_checkpoint(sequence, entry.position + n)
        for request_id, error in failures.items():  # last: the tokens of its other choices are computed too
            self._requests.fail(self._requests.groups[request_id], error)
        checkpoints = self._cache.checkpoints
        if checkpoints is not None:
            self.stats.checkpoints, self.stats.checkpoint_bytes = len(checkpoints), checkpoints.n_bytes
        self.stats.add_step(n_prompt, n_all, n_generated, now_s - start_s, len(batch.entries))
        self._learn_costs(batch, n_all, n_prompt, start_s, now_s)

    def _learn_costs(self, batch: Batch, n_all: int, n_prompt: int, start_s: float, now_s: float) -> None:
        """Learn what a run took, and what passed before it if it has no drafts. Pauses end with a prompt."""
        if not n_prompt and n_all == len(batch.entries):
            self.step_cost.add_between(start_s - self._end_s - self._draft_s)
        self._end_s = now_s
        if batch.image is None:
            n_tokens = n_all + sum(batch.pads.values())
            self.step_cost.add(n_tokens, n_prompt, now_s - start_s, n_passes=len(batch.rows))

    def _keep_checkpoint(self, sequence: Sequence, n_held: int) -> None:
        """Keep the state of a sequence's slot, which holds `n_held` tokens, where that is due."""
        checkpoints, slot = self._cache.checkpoints, sequence.slot
        if checkpoints is None or slot is None or sequence.n_computed != n_held:
            return  # with a rejected guess in it, it is the state of nothing that was said
        if not checkpoints.is_due(slot, n_held, sequence.borders):
            return
        state = self._runner.checkpoint(slot)
        if state is None:
            checkpoints.skip(slot, n_held)
        else:
            self.stats.checkpoints_total += 1
            checkpoints.add(slot, Checkpoint(n_held, state, n_held in sequence.borders))

    def _tell_progress(self, sequence: Sequence, now_s: float) -> None:
        """Report how far the prompt of a request's first choice is computed, until its answer begins."""
        if sequence.index == 0 and sequence.n_generated == 0:
            n_processed = min(sequence.n_computed, sequence.n_prompt)
            self._requests.report(progress_event(sequence.group, n_processed, now_s))

    def _apply_output(self, sequence: Sequence, entry: BatchEntry, output: Output, now_s: float) -> None:
        """Give a sequence the run's result: prompt scores, accepted draft tokens, a new token."""
        group = sequence.group
        if output.scores is not None:
            del group.scores[entry.position :]
            group.scores += output.scores
            if sequence.n_computed >= sequence.n_prompt:
                sequence.scores_prompt = False
                self._requests.report(prompt_scored_event(group, self._runner.spelling))
        n_drafted = entry.n_outputs - 1
        if n_drafted > 0:
            n_accepted = len(output.tokens) - 1
            group.n_drafted += n_drafted
            self.stats.drafts_total += 1
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
            sequence.n_forced = len(output.forced)
            self._answers.append(sequence, output.tokens + output.forced, ends=output.ends)
            if group.request.predict_ms is not None:
                self._answers.end_late(sequence, group.request.predict_ms, now_s)
        elif sequence.n_computed >= sequence.n_tokens_max:  # nothing was to be generated, only scored
            for choice in group.sequences:
                self._requests.finish(choice, "length", "")

    def _recover(self, error: DecodeError) -> None:
        """Make room for the batch, of which nothing was computed, or give up a sequence, or all."""
        if error.status != 1:
            self.fatal_error = error
            self._end_all(f"the model failed while computing: {error.message}", "server_error")
            return
        if self._speculation is not None and self._speculation.withdraw(self._scheduler.running):
            return  # without the guesses there may be room
        stuck = self._scheduler.make_room()
        self.stats.preemptions_total = self._scheduler.n_preemptions
        if stuck is None:
            return
        if stuck.n_generated > 0:
            self._requests.finish(stuck, "length", stuck.stops.flush())
        else:
            self._requests.fail(stuck.group, no_room_error(stuck))

    # --- between steps -------------------------------------------------------------------------------

    def leftovers(self) -> Iterator[Save]:
        """Yield what the KV cache holds that is worth keeping at the engine's end; for `ModelRunner.save`."""
        return self._cache.leftovers()

    def slot_states(self) -> list[SlotState]:
        """Return what each slot does."""
        runner = self._runner
        return slot_states(
            self._cache.slots, runner.n_ctx, runner.piece, speculative=self._speculation is not None
        )

    def snapshot(self) -> EngineSnapshot:
        """Return a copy of the books as they are between two steps, for tests; it takes time."""
        return take_snapshot(self._scheduler)

    def check_integrity(self) -> None:
        """Raise AssertionError if the books disagree; for tests and idle moments."""
        integrity.check(self._scheduler, self._requests)


def _checkpoints(runner: ModelRunner, config: EngineConfig) -> Checkpoints | None:
    """Return the book of checkpoints for a runner that makes them, if any are to be kept.

    A window can be trimmed while its cells are there. Where they are until a slot's state was copied, states
    at the ends of turns are enough for what comes after that.
    """
    if not runner.can_rewind or not config.checkpoint_bytes:
        return None
    keeps_all = runner.can_trim and not runner.forgets
    spacing = runner.n_ctx if keeps_all else config.checkpoint_tokens
    return Checkpoints(runner.n_slots, spacing, config.checkpoint_bytes)
