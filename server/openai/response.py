"""The engine's events → one response. Pure: `AnswerWhole` is fed events in order, as `AnswerStream` is."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import UNSET

from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, FinishReason
from server.openai import response_types
from server.openai.chunks import SYSTEM_FINGERPRINT, Heading, Kind
from server.openai.errors import RequestFailed
from server.openai.logprobs import TextLogprobs, chat_logprobs, joined_chat, joined_text


class Candidates(NamedTuple):
    """Of every `best_of` choices of a prompt, only the `n` likeliest are answered."""

    best_of: int
    n: int


class AnswerWhole:
    """Events in, one encoded response out, when `finish` is set.

    With `candidates` the choices are told from the likeliest on, by the mean logprob of their tokens, and
    the others only count in the usage.
    """

    def __init__(
        self,
        heading: Heading,
        *,
        return_tokens: bool = False,
        logprobs: bool = False,
        candidates: Candidates | None = None,
    ) -> None:
        self._heading = heading
        self._return_tokens = return_tokens
        self._candidates = candidates
        self._choices = [_Choice(heading.kind, logprobs) for _ in range(heading.n_choices)]
        self.finish: Finish | None = None

    def feed(self, event: Event) -> None:
        """Raises RequestFailed for a `Failure`."""
        if isinstance(event, Delta):
            self._choices[event.index].add(event)
        elif isinstance(event, ChoiceEnd):
            self._choices[event.index].reason = event.finish_reason
        elif isinstance(event, Finish):
            self.finish = event
        elif isinstance(event, Failure):
            raise RequestFailed(event)

    def json(self) -> bytes:
        """Only after `Finish` was fed."""
        assert self.finish is not None
        heading, finish = self._heading, self.finish
        return msgspec.json.encode(
            response_types.Answer(
                id=heading.id,
                object="chat.completion" if heading.kind == "chat" else "text_completion",
                created=heading.created,
                model=heading.model,
                system_fingerprint=SYSTEM_FINGERPRINT,
                choices=[
                    choice.told(index, self._return_tokens) for index, choice in enumerate(self._chosen())
                ],
                usage=response_types.usage_of(finish.usage),
                timings=response_types.timings_of(finish.timings, finish.usage.cached_tokens),
            )
        )

    def _chosen(self) -> list[_Choice]:
        if self._candidates is None:
            return self._choices
        best_of, n = self._candidates
        starts = range(0, len(self._choices), best_of)
        of_prompts = (self._choices[start : start + best_of] for start in starts)
        return [choice for some in of_prompts for choice in sorted(some, key=_Choice.unlikeliness)[:n]]


class _Choice:
    """What has come of one choice so far."""

    def __init__(self, kind: Kind, logprobs: bool) -> None:
        self.reason: FinishReason = "stop"
        self._kind = kind
        self._text: list[str] = []
        self._tokens: list[int] = []
        self._chat_logprobs: list[response_types.ChatLogprobs] | None = (
            [] if logprobs and kind == "chat" else None
        )
        self._text_logprobs: list[response_types.TextLogprobs] | None = (
            [] if logprobs and kind == "text" else None
        )
        self._placed = TextLogprobs()
        self._n_scored = 0
        self._sum = 0.0

    def add(self, delta: Delta) -> None:
        self._text.append(delta.text)
        self._tokens += delta.tokens
        if delta.n_tokens:
            self._n_scored += len(delta.logprobs)
            self._sum += sum(entry.logprob or 0.0 for entry in delta.logprobs)
        if self._chat_logprobs is not None:
            self._chat_logprobs.append(chat_logprobs(delta.logprobs))
        if self._text_logprobs is not None:
            self._text_logprobs.append(self._placed.tell(delta))

    def unlikeliness(self) -> float:
        """Minus the mean logprob of the generated tokens; without any, infinite."""
        return -self._sum / self._n_scored if self._n_scored else float("inf")

    def told(self, index: int, return_tokens: bool) -> response_types.Choice:
        text = "".join(self._text)
        tokens = tuple(self._tokens) if return_tokens else UNSET
        if self._kind == "text":
            placed = None if self._text_logprobs is None else joined_text(self._text_logprobs)
            return response_types.TextChoice(index, text, self.reason, placed, tokens)
        logprobs = None if self._chat_logprobs is None else joined_chat(self._chat_logprobs)
        return response_types.ChatChoice(
            index, response_types.ChatMessage(text), self.reason, logprobs, tokens
        )
