"""`RequestTable`: the requests that have begun and not ended, and the events that report their course."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable

from models.errors import CorralError
from server.engine.event_factory import (
    error_failure,
    progress_event,
    started_event,
    take_delta,
    timeout_failure,
)
from server.engine.events import ChoiceEnd, Delta, Event, Failure, FinishReason
from server.engine.replay import has_ended, replay
from server.engine.request import EngineRequest
from server.engine.runner import ModelRunner
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import Group, Sequence, SequenceStatus
from server.engine.speculation.speculation import Drafting
from server.engine.stats import ServiceTime

SEED_LIMIT = 2**32 - 1
"""Seeds are below this number: llama.cpp takes the number itself for "any"."""


class RequestTable:
    """All live requests by id, all live sequences by id, and the events that the next step returns.

    Each request that is added gets at most one `Started` and exactly one terminal event. A sequence's
    sampler, its place with the scheduler and its guesses are made and freed here.
    """

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        speculation: Drafting | None,
        clock_s: Callable[[], float],
    ) -> None:
        self.groups: dict[str, Group] = {}
        self.sequences: dict[int, Sequence] = {}
        self.service_time = ServiceTime()
        self.n_with_deadline = 0
        """The number of live requests that have a time limit."""
        self._events: list[Event] = []
        self._runner = runner
        self._scheduler = scheduler
        self._speculation = speculation
        self._clock_s = clock_s
        self._sequence_ids = itertools.count()
        self._n_added = 0

    @property
    def has_work(self) -> bool:
        """True if a request has not ended, or an event has not been taken."""
        return bool(self.groups or self._events)

    def report(self, event: Event) -> None:
        """Add an event to those that the next step returns."""
        self._events.append(event)

    def take_events(self) -> list[Event]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    # --- beginnings ----------------------------------------------------------------------------------

    def add(self, request: EngineRequest) -> None:
        """Let the request's sequences wait for slots.

        Raises RequestError, and leaves nothing, if a sampler can't be made, or an answer can't go on here.
        """
        group = Group(request, self._runner.n_ctx, self._clock_s(), self._sequence_ids, self._n_added)
        self._open_samplers(group)
        self._n_added += 1
        self.groups[group.id] = group
        self.n_with_deadline += group.deadline_s is not None
        for sequence in group.sequences:
            self.sequences[sequence.id] = sequence
            self._scheduler.add(sequence)
        if request.params.max_tokens == 0 and not request.score_prompt:
            self.admit(group, 0, self._clock_s())
            for sequence in group.sequences:
                self.finish(sequence, "length", "")
        elif request.resumption is not None:
            self._finish_ended(group)

    def _finish_ended(self, group: Group) -> None:
        """Complete the choices of which only the end wasn't reported before their worker died."""
        for sequence in group.sequences:
            if sequence.n_generated and has_ended(sequence):
                if group.admitted_s is None:
                    self.admit(group, 0, self._clock_s())
                is_stop = sequence.stops.matched is not None
                self.finish(sequence, "stop" if is_stop else "length", sequence.stops.flush())

    def _open_samplers(self, group: Group) -> None:
        request, params, resumption = group.request, group.request.params, group.request.resumption
        if group.seed is None:
            group.seed = secrets.randbelow(SEED_LIMIT)
        with_sampler: list[Sequence] = []
        prompt_tokens = request.text_tokens
        try:
            for place, sequence in enumerate(group.sequences):
                own_seed = (group.seed + sequence.index) % SEED_LIMIT
                self._runner.open(
                    sequence.id,
                    params,
                    own_seed,
                    prompt_tokens,
                    request.n_probs,
                    request.guide,
                    after_sampling=request.after_sampling,
                )
                with_sampler.append(sequence)
                if sequence.progress is not None and sequence.progress.must_close:
                    self._runner.force(sequence.id, sequence.progress.close())
                if resumption is not None:
                    replay(sequence, resumption.choices[place], self._runner)
        except CorralError:
            for sequence in with_sampler:
                self._runner.close(sequence.id)
            raise

    def admit(self, group: Group, n_cached: int, now_s: float) -> None:
        """Report that the request's first choice got a slot at `now_s`, with `n_cached` tokens in it."""
        request = group.request
        group.admitted_s = now_s
        group.n_cached = n_cached
        self.report(started_event(request, n_cached, group.seed or 0))
        if request.tells_progress:
            self.report(progress_event(group, n_cached, now_s))
        if request.echo_text:
            resumption = request.resumption
            echoed = {choice.index for choice in resumption.choices if choice.has_echo} if resumption else ()
            for sequence in group.sequences:
                if sequence.index in echoed:
                    continue
                self.report(
                    Delta(
                        id=request.id,
                        index=sequence.index,
                        text=request.echo_text,
                        n_tokens=0,
                        is_prompt=True,
                    )
                )

    # --- ends ----------------------------------------------------------------------------------------

    def finish(self, sequence: Sequence, reason: FinishReason, text: str, *, is_loop: bool = False) -> None:
        """Complete a choice with its last `text`, and with its last choice the request."""
        group = sequence.group
        is_counted = group.request.has_replay is not None
        if text or (sequence.n_unreported and group.request.wants_tokens):
            self.report(take_delta(sequence, text, ends=True))
        self.report(
            ChoiceEnd(
                id=group.id,
                index=sequence.index,
                finish_reason=reason,
                stop=sequence.stops.matched,
                is_loop=is_loop,
                n_tokens=sequence.n_generated if is_counted else 0,
                n_thoughts=sequence.progress.n_thoughts if is_counted and sequence.progress else 0,
            )
        )
        self._close(sequence)
        if group.is_finished:
            self._forget(group)
            now_s = self._clock_s()
            self.service_time.add(now_s - (group.admitted_s or now_s))
            self.report(group.summary(now_s))

    def fail(self, group: Group, error: CorralError) -> None:
        """End the request with `error`, whatever state its choices are in."""
        self.end(group, error_failure(group.id, error))

    def end(self, group: Group, event: Failure) -> None:
        """End the request with `event`, whatever state its choices are in."""
        for sequence in group.sequences:
            if sequence.status is not SequenceStatus.FINISHED:
                self._close(sequence)
        self._forget(group)
        self.report(event)

    def expire(self) -> None:
        """End the requests whose time limit has passed."""
        now_s = self._clock_s()
        for group in list(self.groups.values()):
            if group.deadline_s is not None and now_s >= group.deadline_s:
                self.end(group, timeout_failure(group.id, group.request.timeout_s or 0.0))

    def _forget(self, group: Group) -> None:
        del self.groups[group.id]
        self.n_with_deadline -= group.deadline_s is not None

    def _close(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        self._runner.close(sequence.id)
        if self._speculation is not None:
            self._speculation.close(sequence)
        del self.sequences[sequence.id]
