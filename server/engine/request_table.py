"""The requests that have begun and not ended: how they begin, how they end, and what is told of both."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from models.errors import CorralError
from server.engine.event_factory import delta, failure, out_of_time, started
from server.engine.events import ChoiceEnd, Delta, Event, Failure, FinishReason
from server.engine.request import EngineRequest
from server.engine.runner import ModelRunner
from server.engine.scheduler import Scheduler
from server.engine.sequence import Group, Sequence, SequenceStatus
from server.engine.speculation.speculation import Speculation
from server.engine.stats import ServiceTime

SEED_LIMIT = 2**32 - 1
"""Seeds are below this: llama.cpp takes the number itself for "any"."""


class OpenRequests:
    """Each request that is begun gets at most one `Started` and exactly one terminal event.

    What a sequence has outside (a sampler, a place with the scheduler, guesses) is made and freed here.
    """

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        speculation: Speculation | None,
        clock_s: Callable[[], float],
    ) -> None:
        self.groups: dict[str, Group] = {}
        self.sequences: dict[int, Sequence] = {}
        self.events: list[Event] = []
        """What is told with the next step."""
        self.service_time = ServiceTime()
        self.n_with_deadline = 0
        self._runner = runner
        self._scheduler = scheduler
        self._speculation = speculation
        self._clock_s = clock_s

    def take_events(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    # --- beginnings ----------------------------------------------------------------------------------

    def begin(self, request: EngineRequest) -> None:
        """Let its sequences wait for slots. Raises RequestError, and leaves nothing, if a sampler can't be
        made."""
        group = Group(request, self._runner.n_ctx, self._clock_s())
        self._open_samplers(group)
        self.groups[group.id] = group
        self.n_with_deadline += group.deadline_s is not None
        for sequence in group.sequences:
            self.sequences[sequence.id] = sequence
            self._scheduler.add(sequence)
        if request.params.max_tokens == 0 and not request.score_prompt:
            self.start(group, 0, self._clock_s())
            for sequence in group.sequences:
                self.finish(sequence, "length", "")

    def _open_samplers(self, group: Group) -> None:
        request, params = group.request, group.request.params
        seed = secrets.randbelow(SEED_LIMIT) if params.seed is None else params.seed
        opened: list[Sequence] = []
        try:
            for sequence in group.sequences:
                own_seed = (seed + sequence.index) % SEED_LIMIT
                self._runner.open(sequence.id, params, own_seed, request.prompt_tokens, request.n_probs)
                opened.append(sequence)
        except CorralError:
            for sequence in opened:
                self._runner.close(sequence.id)
            raise

    def start(self, group: Group, n_cached: int, now_s: float) -> None:
        """Its first choice was given a slot at `now_s`, and found `n_cached` of its tokens there."""
        request = group.request
        group.admitted_s = now_s
        group.n_cached = n_cached
        self.events.append(started(request, n_cached))
        if request.echo_text:
            for sequence in group.sequences:
                self.events.append(
                    Delta(id=request.id, index=sequence.index, text=request.echo_text, n_tokens=0)
                )

    # --- ends ----------------------------------------------------------------------------------------

    def finish(self, sequence: Sequence, reason: FinishReason, text: str) -> None:
        """A choice is complete; `text` is its last. With its last choice the request is, too."""
        group = sequence.group
        if text or (sequence.n_unreported and group.request.wants_tokens):
            self.events.append(delta(sequence, text))
        self.events.append(
            ChoiceEnd(id=group.id, index=sequence.index, finish_reason=reason, stop=sequence.stops.matched)
        )
        self._close(sequence)
        if group.is_finished:
            self._forget(group)
            now_s = self._clock_s()
            self.service_time.add(now_s - (group.admitted_s or now_s))
            self.events.append(group.summary(now_s))

    def fail(self, group: Group, error: CorralError) -> None:
        self.end(group, failure(group.id, error))

    def end(self, group: Group, event: Failure) -> None:
        """The request ends with `event`, wherever its choices are."""
        for sequence in group.sequences:
            if sequence.status is not SequenceStatus.FINISHED:
                self._close(sequence)
        self._forget(group)
        self.events.append(event)

    def expire(self) -> None:
        """End the requests whose time limit has passed."""
        now_s = self._clock_s()
        for group in list(self.groups.values()):
            if group.deadline_s is not None and now_s >= group.deadline_s:
                self.end(group, out_of_time(group.request))

    def _forget(self, group: Group) -> None:
        del self.groups[group.id]
        self.n_with_deadline -= group.deadline_s is not None

    def _close(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        self._runner.close(sequence.id)
        if self._speculation is not None:
            self._speculation.close(sequence)
        del self.sequences[sequence.id]
