"""The engine's events → OpenAI's chunks. Pure: `AnswerStream` is fed events in order; `AnswerWhole` beside it
makes whole responses.

A stream of chat chunks, for each choice: role, content…, finish; at the end perhaps usage. The last finish is
held back until `Finish` arrives, so that the final chunk can carry the timings.
"""

from __future__ import annotations

import secrets
import time
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from models.version import VERSION
from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, PromptScored, Started, Timings
from server.openai import response_types
from server.openai.errors import RequestFailed
from server.openai.logprobs import TextLogprobs, chat_logprobs

SYSTEM_FINGERPRINT = f"corral-{VERSION}"

Kind = Literal["chat", "text"]
_PREFIXES: dict[Kind, str] = {"chat": "chatcmpl-", "text": "cmpl-"}
_OPENING = response_types.ChatDelta(role="assistant", content="")
_NOTHING = response_types.ChatDelta()
_MARK = "\0"


def new_id(kind: Kind) -> str:
    return _PREFIXES[kind] + secrets.token_hex(15)


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """What every chunk of an answer repeats. `n_choices` is prompts × n, or prompts × best_of."""

    kind: Kind
    id: str
    created: int
    model: str
    n_choices: int = 1


class AnswerStream:
    """Events in, encoded JSON chunks out.

    With `timings_per_token` each chunk carries timings measured here, so they include the queue.
    """

    def __init__(
        self,
        heading: Heading,
        *,
        include_usage: bool = False,
        timings_per_token: bool = False,
        return_tokens: bool = False,
        logprobs: bool = False,
    ) -> None:
        self._heading = heading
        self._include_usage = include_usage
        self._return_tokens = return_tokens
        self._logprobs = logprobs
        self._text_logprobs = [TextLogprobs() for _ in range(heading.n_choices if logprobs else 0)]
        self._clock = _Clock() if timings_per_token else None
        self._encode = msgspec.json.Encoder().encode
        self._only_text = not (timings_per_token or return_tokens or logprobs)
        self._around: dict[int, tuple[bytes, bytes]] = {}
        """Where only their text differs: what stands before and after it in a choice's chunks."""
        self._opened: set[int] = set()
        self._n_ended = 0
        self._last_end: response_types.Choice | None = None
        self.finish: Finish | None = None

    def feed(self, event: Event) -> list[bytes]:
        """The chunks that `event` makes, often one, sometimes none. Raises RequestFailed for a `Failure`."""
        if isinstance(event, Delta):
            around = self._around.get(event.index)
            if around is None or not event.text:
                return self._delta(event)
            return [around[0] + self._encode(event.text) + around[1]]
        if isinstance(event, ChoiceEnd):
            return self._end(event)
        if isinstance(event, Finish):
            return self._finish(event)
        if isinstance(event, Failure):
            raise RequestFailed(event)
        if isinstance(event, PromptScored):
            return []  # told with the deltas, see `scored_prompt`
        if self._clock is not None:
            self._clock.started(event)
        return self._openings(range(self._heading.n_choices))

    def _openings(self, indexes: range) -> list[bytes]:
        """The chunks that name the role, once per choice."""
        if self._heading.kind != "chat":
            return []
        new = [index for index in indexes if index not in self._opened]
        self._opened.update(new)
        return [self._chunk([response_types.ChatChunkChoice(index, _OPENING)]) for index in new]

    def _delta(self, event: Delta) -> list[bytes]:
        if self._clock is not None:
            self._clock.predicted(event.n_tokens)
        if not event.text and not (self._return_tokens and event.tokens) and not event.logprobs:
            return []
        tokens = event.tokens if self._return_tokens else UNSET
        if self._heading.kind == "text":
            placed = self._text_logprobs[event.index].tell(event) if self._logprobs else None
            written = response_types.TextChoice(event.index, event.text, None, placed, tokens)
            self._remember(written)
            return [self._chunk([written])]
        told = chat_logprobs(event.logprobs) if self._logprobs else None
        choice = response_types.ChatChunkChoice(
            event.index, response_types.ChatDelta(content=event.text), None, told, tokens
        )
        if event.index in self._opened:
            self._remember(choice)
            return [self._chunk([choice])]
        return [*self._openings(range(event.index, event.index + 1)), self._chunk([choice])]

    def _remember(self, choice: response_types.TextChoice | response_types.ChatChunkChoice) -> None:
        """So that the next chunk like this one is written around its text."""
        if not self._only_text:
            return
        if isinstance(choice, response_types.TextChoice):
            marked: response_types.Choice = msgspec.structs.replace(choice, text=_MARK)
        else:
            marked = msgspec.structs.replace(choice, delta=response_types.ChatDelta(content=_MARK))
        before, _, after = self._chunk([marked]).rpartition(self._encode(_MARK))
        self._around[choice.index] = (before, after)

    def _end(self, event: ChoiceEnd) -> list[bytes]:
        chunks = self._openings(range(event.index, event.index + 1))
        choice: response_types.Choice
        if self._heading.kind == "text":
            choice = response_types.TextChoice(event.index, "", event.finish_reason)
        else:
            choice = response_types.ChatChunkChoice(event.index, _NOTHING, event.finish_reason)
        self._n_ended += 1
        if self._n_ended == self._heading.n_choices:
            self._last_end = choice
            return chunks
        return [*chunks, self._chunk([choice])]

    def _finish(self, event: Finish) -> list[bytes]:
        self.finish = event
        timings = response_types.timings_of(event.timings, event.usage.cached_tokens)
        last: list[response_types.Choice] = [] if self._last_end is None else [self._last_end]
        if not self._include_usage:
            return [self._chunk(last, timings=timings)]
        usage = response_types.usage_of(event.usage)
        return [self._chunk(last), self._chunk([], usage=usage, timings=timings)]

    def _chunk(
        self,
        choices: list[response_types.Choice],
        usage: response_types.Usage | UnsetType | None = UNSET,
        timings: response_types.Timings | UnsetType = UNSET,
    ) -> bytes:
        heading = self._heading
        if self._include_usage and usage is UNSET:
            usage = None
        if self._clock is not None and timings is UNSET:
            timings = self._clock.timings()
        return self._encode(
            response_types.Answer(
                id=heading.id,
                object="chat.completion.chunk" if heading.kind == "chat" else "text_completion",
                created=heading.created,
                model=heading.model,
                system_fingerprint=SYSTEM_FINGERPRINT,
                choices=choices,
                usage=usage,
                timings=timings,
            )
        )


class _Clock:
    """Timings of an answer so far, for `timings_per_token`."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._first: float | None = None
        self._prompt_n = self._cached_n = self._predicted_n = 0

    def started(self, event: Started) -> None:
        self._prompt_n += event.prompt_tokens - event.cached_tokens
        self._cached_n += event.cached_tokens

    def predicted(self, n_tokens: int) -> None:
        if n_tokens and self._first is None:
            self._first = time.perf_counter()
        self._predicted_n += n_tokens

    def timings(self) -> response_types.Timings:
        now = time.perf_counter()
        first = now if self._first is None else self._first
        measured = Timings(
            queue_ms=0.0,
            prompt_n=self._prompt_n,
            prompt_ms=1e3 * (first - self._begun),
            predicted_n=self._predicted_n,
            predicted_ms=1e3 * (now - first),
        )
        return response_types.timings_of(measured, self._cached_n)
