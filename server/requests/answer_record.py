"""`AnswerRecord`: what came of a request's answer, as another worker needs it to go on. Pure."""

from __future__ import annotations

from array import array
from typing import Self

from server.engine.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PromptProgress,
    PromptScored,
    Started,
    Timings,
    Usage,
)
from server.engine.resumption import Beginning, Resumption, cannot_resume, unpacked
from server.ipc.messages import Generate

MAX_WORKERS = 2
"""So many workers of one server may have one request: one whose second dies, too, may be the reason."""


class ChoiceRecord:
    """One choice: the ids of its tokens, as far as they came, and the number of characters of its text.

    `has_echo`: the prompt's own text has come before it.
    """

    __slots__ = ("has_echo", "n_characters", "tokens")

    def __init__(self) -> None:
        self.tokens = array("i")
        self.n_characters = 0
        self.has_echo = False


class AnswerRecord:
    """The events of one request so far, through all workers that it had. Times are the caller's clock's.

    Each delta goes to `on_delta`, each other event to `on_event`, which says what the client is to get.
    """

    __slots__ = (
        "_began_s",
        "_ended_before",
        "_first_delta_s",
        "_is_resumed",
        "_n_prompt_parts",
        "beginning",
        "choices",
        "created_s",
        "ended",
        "is_scored",
        "max_workers",
        "n_workers",
        "started",
    )

    def __init__(self, n_choices: int, now_s: float, max_workers: int = MAX_WORKERS) -> None:
        """`now_s`: the time at which the request is sent for the first time."""
        self.choices = [ChoiceRecord() for _ in range(n_choices)]
        self.created_s = now_s
        self.started: Started | None = None
        self.beginning: Beginning | None = None
        self.ended: dict[int, ChoiceEnd] = {}
        """The choices that have ended."""
        self.n_workers = 0
        """The number of workers that have had the request, or were to have it."""
        self.max_workers = max_workers
        """So many may have it."""
        self.is_scored = False
        """True once all of the prompt's scores have come."""
        self._n_prompt_parts = 0
        self._began_s = now_s
        self._first_delta_s: float | None = None
        self._is_resumed = False
        self._ended_before: frozenset[int] = frozenset()
        """The choices that had ended when the request came."""

    @classmethod
    def of(cls, request: Generate, now_s: float, max_workers: int = MAX_WORKERS) -> Self:
        """Return the record of a request that comes now, with what had come of it if it has begun elsewhere.

        Raises RequestError for one that came damaged.
        """
        record = cls(request.n, now_s, max_workers)
        if request.resumption is not None:
            record._begin_with(request.resumption, now_s)
        return record

    def on_delta(self, event: Delta, now_s: float) -> None:
        """Take a delta, which the client has from now on."""
        choice = self.choices[event.index]
        if event.is_prompt:
            choice.has_echo = True
            return
        choice.tokens.extend(event.tokens)
        choice.n_characters += len(event.text)
        if self._first_delta_s is None:
            self._first_delta_s = now_s

    def on_event(self, event: Event, now_s: float) -> Event | None:
        """Take any other event; return it as the client is to have it, None for what it has had already."""
        if isinstance(event, Started):
            if self.started is not None:
                return None
            self.started, self.beginning, self._began_s = event, event.beginning, now_s
        elif isinstance(event, PromptProgress):
            return None if self.has_tokens else event
        elif isinstance(event, PromptScored):
            self._n_prompt_parts += 1
            self.is_scored = not event.more
        elif isinstance(event, ChoiceEnd):
            self.ended[event.index] = event
        elif isinstance(event, Finish) and self._is_resumed:
            return self.finish(event, now_s)
        return event

    @property
    def is_begun(self) -> bool:
        """True once a worker has begun the request."""
        return self.started is not None

    @property
    def has_tokens(self) -> bool:
        """True once a part of the answer has come."""
        return self._first_delta_s is not None or bool(self.ended or self._ended_before)

    @property
    def has_all(self) -> bool:
        """True if every choice has ended, so that only the `Finish` is missing."""
        return len(self.ended) + len(self._ended_before) == len(self.choices)

    def has_ended(self, index: int) -> bool:
        """Return True if a choice has ended."""
        return index in self.ended or index in self._ended_before

    @property
    def is_within_scores(self) -> bool:
        """True if some of the prompt's scores have come, and not all."""
        return self._n_prompt_parts > 0 and not self.is_scored

    def first_token_age_s(self, now_s: float) -> float | None:
        """Return the time since the first token came; None before it."""
        return None if self._first_delta_s is None else now_s - self._first_delta_s

    def resume(self) -> None:
        """Note that the answer goes on in another worker, whose counts know only of its own part."""
        self._is_resumed = True

    def finish(self, last: Finish, now_s: float) -> Finish:
        """Return the request's `Finish` with the counts and times of all workers that it had.

        What was computed twice is counted once, as if it had been one worker; the pause between them is in
        the time of the phase that it interrupted. Guesses are those of the last worker.
        """
        started = self.started
        assert started is not None
        ends = self.ended.values()
        n_generated = sum(end.n_tokens for end in ends)
        first_s = now_s if self._first_delta_s is None else self._first_delta_s
        return Finish(
            id=last.id,
            usage=Usage(
                prompt_tokens=started.prompt_tokens,
                completion_tokens=n_generated,
                cached_tokens=started.cached_tokens,
                reasoning_tokens=sum(end.n_thoughts for end in ends),
            ),
            timings=Timings(
                queue_ms=(self._began_s - self.created_s) * 1e3,
                prompt_n=started.prompt_tokens - started.cached_tokens,
                prompt_ms=(first_s - self._began_s) * 1e3,
                predicted_n=n_generated,
                predicted_ms=(now_s - first_s) * 1e3,
                draft_n=last.timings.draft_n,
                draft_n_accepted=last.timings.draft_n_accepted,
                context_shifts=last.timings.context_shifts,
            ),
        )

    def _begin_with(self, so_far: Resumption, now_s: float) -> None:
        """Take what had come before this request came."""
        self.beginning, self.is_scored = so_far.beginning, so_far.is_scored
        self.created_s = now_s - so_far.age_s
        if so_far.first_token_age_s is not None:
            self._first_delta_s = now_s - so_far.first_token_age_s
        left = {choice.index: choice for choice in so_far.choices}
        self._ended_before = frozenset(range(len(self.choices))) - left.keys()
        if self.has_all:
            raise cannot_resume("none of its choices is left")
        for index, record in enumerate(self.choices):
            if (choice := left.get(index)) is not None:
                record.tokens.extend(unpacked(choice.tokens))
                record.n_characters, record.has_echo = choice.n_characters, choice.has_echo
