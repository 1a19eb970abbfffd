"""The engine's events → OpenAI's chunks and responses. Pure: `AnswerStream` and `AnswerWhole` are fed events
in order.

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
from server.openai import wire
from server.openai.errors import RequestFailed
from server.worker.messages import ChoiceEnd, Delta, Event, Failure, Finish, Started, Timings

SYSTEM_FINGERPRINT = f"corral-{VERSION}"

Kind = Literal["chat", "text"]
_PREFIXES: dict[Kind, str] = {"chat": "chatcmpl-", "text": "cmpl-"}
_OPENING = wire.ChatDelta(role="assistant", content="")
_NOTHING = wire.ChatDelta()


def new_id(kind: Kind) -> str:
    return _PREFIXES[kind] + secrets.token_hex(15)


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """What every chunk of an answer repeats. `n_choices` is prompts × n."""

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
    ) -> None:
        self._heading = heading
        self._include_usage = include_usage
        self._return_tokens = return_tokens
        self._clock = _Clock() if timings_per_token else None
        self._encode = msgspec.json.Encoder().encode
        self._opened: set[int] = set()
        self._n_ended = 0
        self._last_end: wire.Choice | None = None
        self.finish: Finish | None = None

    def feed(self, event: Event) -> list[bytes]:
        """The chunks that `event` makes, often one, sometimes none. Raises RequestFailed for a `Failure`."""
        if isinstance(event, Delta):
            return self._delta(event)
        if isinstance(event, ChoiceEnd):
            return self._end(event)
        if isinstance(event, Finish):
            return self._finish(event)
        if isinstance(event, Failure):
            raise RequestFailed(event)
        if self._clock is not None:
            self._clock.started(event)
        return self._openings(range(self._heading.n_choices))

    def _openings(self, indexes: range) -> list[bytes]:
        """The chunks that name the role, once per choice."""
        if self._heading.kind != "chat":
            return []
        new = [index for index in indexes if index not in self._opened]
        self._opened.update(new)
        return [self._chunk([wire.ChatChunkChoice(index, _OPENING)]) for index in new]

    def _delta(self, event: Delta) -> list[bytes]:
        if self._clock is not None:
            self._clock.predicted(event.n_tokens)
        if not event.text and not (self._return_tokens and event.tokens):
            return []
        tokens = event.tokens if self._return_tokens else UNSET
        if self._heading.kind == "text":
            return [self._chunk([wire.TextChoice(event.index, event.text, tokens=tokens)])]
        choice = wire.ChatChunkChoice(event.index, wire.ChatDelta(content=event.text), tokens=tokens)
        if event.index in self._opened:
            return [self._chunk([choice])]
        return [*self._openings(range(event.index, event.index + 1)), self._chunk([choice])]

    def _end(self, event: ChoiceEnd) -> list[bytes]:
        chunks = self._openings(range(event.index, event.index + 1))
        choice: wire.Choice
        if self._heading.kind == "text":
            choice = wire.TextChoice(event.index, "", event.finish_reason)
        else:
            choice = wire.ChatChunkChoice(event.index, _NOTHING, event.finish_reason)
        self._n_ended += 1
        if self._n_ended == self._heading.n_choices:
            self._last_end = choice
            return chunks
        return [*chunks, self._chunk([choice])]

    def _finish(self, event: Finish) -> list[bytes]:
        self.finish = event
        timings = wire.timings_of(event.timings, event.usage.cached_tokens)
        last: list[wire.Choice] = [] if self._last_end is None else [self._last_end]
        if not self._include_usage:
            return [self._chunk(last, timings=timings)]
        usage = wire.usage_of(event.usage)
        return [self._chunk(last), self._chunk([], usage=usage, timings=timings)]

    def _chunk(
        self,
        choices: list[wire.Choice],
        usage: wire.Usage | UnsetType | None = UNSET,
        timings: wire.Timings | UnsetType = UNSET,
    ) -> bytes:
        heading = self._heading
        if self._include_usage and usage is UNSET:
            usage = None
        if self._clock is not None and timings is UNSET:
            timings = self._clock.timings()
        return self._encode(
            wire.Answer(
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


class AnswerWhole:
    """Events in, one encoded response out, when `finish` is set."""

    def __init__(self, heading: Heading, *, return_tokens: bool = False) -> None:
        self._heading = heading
        self._return_tokens = return_tokens
        self._texts: list[list[str]] = [[] for _ in range(heading.n_choices)]
        self._tokens: list[list[int]] = [[] for _ in range(heading.n_choices)]
        self._reasons: list[wire.FinishReason] = ["stop"] * heading.n_choices
        self.finish: Finish | None = None

    def feed(self, event: Event) -> None:
        """Raises RequestFailed for a `Failure`."""
        if isinstance(event, Delta):
            self._texts[event.index].append(event.text)
            self._tokens[event.index].extend(event.tokens)
        elif isinstance(event, ChoiceEnd):
            self._reasons[event.index] = event.finish_reason
        elif isinstance(event, Finish):
            self.finish = event
        elif isinstance(event, Failure):
            raise RequestFailed(event)

    def json(self) -> bytes:
        """Only after `Finish` was fed."""
        assert self.finish is not None
        heading, finish = self._heading, self.finish
        return msgspec.json.encode(
            wire.Answer(
                id=heading.id,
                object="chat.completion" if heading.kind == "chat" else "text_completion",
                created=heading.created,
                model=heading.model,
                system_fingerprint=SYSTEM_FINGERPRINT,
                choices=[self._choice(index) for index in range(heading.n_choices)],
                usage=wire.usage_of(finish.usage),
                timings=wire.timings_of(finish.timings, finish.usage.cached_tokens),
            )
        )

    def _choice(self, index: int) -> wire.Choice:
        text, reason = "".join(self._texts[index]), self._reasons[index]
        tokens = tuple(self._tokens[index]) if self._return_tokens else UNSET
        if self._heading.kind == "text":
            return wire.TextChoice(index, text, reason, tokens=tokens)
        return wire.ChatChoice(index, wire.ChatMessage(text), reason, tokens=tokens)


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
        if self._first is None:
            self._first = time.perf_counter()
        self._predicted_n += n_tokens

    def timings(self) -> wire.Timings:
        now = time.perf_counter()
        first = now if self._first is None else self._first
        measured = Timings(
            queue_ms=0.0,
            prompt_n=self._prompt_n,
            prompt_ms=1e3 * (first - self._begun),
            predicted_n=self._predicted_n,
            predicted_ms=1e3 * (now - first),
        )
        return wire.timings_of(measured, self._cached_n)
