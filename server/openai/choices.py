"""`Choices`: the one interpreter of the engine's events. Pure.

It makes choice deltas of the events of an answer. A stream sends them (`chunks.py`), a whole answer is
their fold (`response.py`); whatever else changes an answer's text is a step before this (`steps/`).
"""

from __future__ import annotations

import time
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from server.answers.events import CallBegin, CallDelta, CallEnd, ThoughtDelta
from server.engine.events import (
    ChoiceEnd,
    Delta,
    Event,
    Failure,
    Finish,
    FinishReason,
    PromptProgress,
    PromptScored,
    Started,
    Timings,
    Vectors,
)
from server.openai import response_types
from server.openai.errors import RequestFailed
from server.openai.heading import Kind
from server.openai.logprobs import TextLogprobs, chat_logprobs

PartKind = Literal["content", "thoughts", "call"]


class CallHead(msgspec.Struct, frozen=True, gc=False):
    """The beginning of a tool call."""

    id: str
    name: str


class ChoiceDelta(msgspec.Struct, frozen=True, gc=False):
    """One event's addition to one part of one choice."""

    index: int
    text: str = ""
    """New text of the part: of a call it is of the arguments."""
    part: PartKind = "content"
    call: int = 0
    """The number of the call in its choice, where the part is one."""
    begins: CallHead | None = None
    """The head of a call that begins; the delta has no text then."""
    tokens: tuple[int, ...] | UnsetType = UNSET
    """The ids of the tokens, only with `return_tokens`."""
    logprobs: response_types.ChatLogprobs | response_types.TextLogprobs | None = None
    """The tokens' logprobs in the form of the answer's kind, only where the client requested them."""
    opens: bool = False
    """True for the first delta of a chat's choice, which names the role and has no text."""
    finish_reason: FinishReason | None = None
    """The reason for which the choice ends; with it, this is the choice's last delta."""
    is_loop: bool = False
    """True if it ends for repeating itself."""
    n_scored: int = 0
    """The number of generated tokens that came with a logprob, whether or not the client gets it."""
    logprob_sum: float = 0.0
    """The sum of the logprobs of these tokens."""


class Choices:
    """Events in, choice deltas out; `finish` is the terminal event once it has come.

    A chat's choice begins with a delta that opens it. The end of the last choice is held back until `Finish`
    comes, so that a stream's final chunk can carry the timings.
    """

    def __init__(
        self,
        kind: Kind,
        n_choices: int,
        *,
        logprobs: bool = False,
        return_tokens: bool = False,
        timings_per_token: bool = False,
    ) -> None:
        self.finish: Finish | None = None
        self._logprobs = logprobs
        self._return_tokens = return_tokens
        self._only_text = not (logprobs or return_tokens or timings_per_token)
        self._unopened = set(range(n_choices)) if kind == "chat" else set[int]()
        self._places: dict[int, TextLogprobs] | None = {} if logprobs and kind == "text" else None
        self._clock = _Clock() if timings_per_token else None
        self._n_running = n_choices
        self._without_arguments: set[int] = set()
        """The choices whose call has begun and has no arguments yet."""
        self._last_end: list[ChoiceDelta] = []

    def feed(self, event: Event) -> list[ChoiceDelta]:
        """Return the deltas that `event` makes, often one. Raises RequestFailed for a `Failure`."""
        if isinstance(event, Delta):
            if self._only_text and event.text and not event.logprobs and not self._unopened:
                if type(event) is Delta:
                    return [ChoiceDelta(event.index, event.text)]  # nearly every event
                if type(event) is ThoughtDelta:
                    return [ChoiceDelta(event.index, event.text, "thoughts")]
            return self._delta(event)
        if isinstance(event, ChoiceEnd):
            return self._end(event)
        if isinstance(event, Finish):
            self.finish = event
            return self._last_end
        if isinstance(event, Failure):
            raise RequestFailed(event)
        if isinstance(event, PromptScored | PromptProgress | Vectors):
            return []  # a step joins the scores to the deltas, see `steps.echo_logprobs`
        if self._clock is not None:
            self._clock.start(event)
        return [delta for index in sorted(self._unopened) for delta in self._opening(index)]

    def open_first(self) -> list[ChoiceDelta]:
        """Return the delta that opens the first choice, if none has."""
        return self._opening(0)

    def timings_so_far(self) -> response_types.Timings | UnsetType:
        """Return the timings for a chunk in the middle; UNSET without `timings_per_token`."""
        return UNSET if self._clock is None else self._clock.timings()

    def _opening(self, index: int) -> list[ChoiceDelta]:
        if index not in self._unopened:
            return []
        self._unopened.discard(index)
        return [ChoiceDelta(index, opens=True)]

    def _delta(self, event: Delta) -> list[ChoiceDelta]:
        if self._clock is not None:
            self._clock.count(event.n_tokens)
        text, part, call, begins = self._part(event)
        if not text and begins is None and not event.logprobs and not (self._return_tokens and event.tokens):
            return []
        return [*self._opening(event.index), self._detailed(event, text, part, call, begins)]

    def _part(self, event: Delta) -> tuple[str, PartKind, int, CallHead | None]:
        """Return an event's text and the part that it belongs to. Arguments that never came are `{}`."""
        match event:
            case CallBegin():
                self._without_arguments.add(event.index)
                return "", "call", event.call, CallHead(event.call_id, event.name)
            case CallDelta():
                if event.text:
                    self._without_arguments.discard(event.index)
                return event.text, "call", event.call, None
            case CallEnd():
                text = "{}" if event.index in self._without_arguments else ""
                self._without_arguments.discard(event.index)
                return text, "call", event.call, None
            case ThoughtDelta():
                return event.text, "thoughts", 0, None
        return event.text, "content", 0, None

    def _detailed(
        self, event: Delta, text: str, part: PartKind, call: int, begins: CallHead | None
    ) -> ChoiceDelta:
        """Return a delta with more than content. The scores of a prompt don't count."""
        logprobs: response_types.ChatLogprobs | response_types.TextLogprobs | None = None
        if self._places is not None:
            place = self._places.get(event.index)
            if place is None:
                place = self._places[event.index] = TextLogprobs()
            logprobs = place.place(event)
        elif self._logprobs:
            logprobs = chat_logprobs(event.logprobs)
        scores = () if event.is_prompt else event.logprobs
        return ChoiceDelta(
            event.index,
            text,
            part,
            call,
            begins,
            tokens=event.tokens if self._return_tokens else UNSET,
            logprobs=logprobs,
            n_scored=len(scores),
            logprob_sum=sum([entry.logprob or 0.0 for entry in scores]),
        )

    def _end(self, event: ChoiceEnd) -> list[ChoiceDelta]:
        opening = self._opening(event.index)
        end = ChoiceDelta(event.index, finish_reason=event.finish_reason, is_loop=event.is_loop)
        self._n_running -= 1
        if self._n_running == 0:
            self._last_end = [end]
            return opening
        return [*opening, end]


class _Clock:
    """The timings of an answer so far. They are measured here, so they include the queue."""

    def __init__(self) -> None:
        self._begun_s = time.perf_counter()
        self._first_s: float | None = None
        self._prompt_n = self._cached_n = self._predicted_n = 0

    def start(self, event: Started) -> None:
        self._prompt_n += event.prompt_tokens - event.cached_tokens
        self._cached_n += event.cached_tokens

    def count(self, n_tokens: int) -> None:
        if n_tokens and self._first_s is None:
            self._first_s = time.perf_counter()
        self._predicted_n += n_tokens

    def timings(self) -> response_types.Timings:
        now_s = time.perf_counter()
        first_s = now_s if self._first_s is None else self._first_s
        measured = Timings(
            queue_ms=0.0,
            prompt_n=self._prompt_n,
            prompt_ms=1e3 * (first_s - self._begun_s),
            predicted_n=self._predicted_n,
            predicted_ms=1e3 * (now_s - first_s),
        )
        return response_types.timings_of(measured, self._cached_n)
