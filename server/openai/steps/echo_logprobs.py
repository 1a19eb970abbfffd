"""Joins the scores of a prompt to the choices that echo it. Pure but for being asynchronous.

The engine sends a prompt's scores once and its text once per choice, in any order, and other choices may be
ahead of the one that scores. Clients get both in the first part of each choice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from server.engine.events import ChoiceEnd, Delta, Event, Finish, PromptScored


async def with_scores(events: AsyncGenerator[Event, None], n: int) -> AsyncGenerator[Event, None]:
    """`events` of one request with `n` choices, without `PromptScored`.

    Instead each choice begins with a `Delta` of no tokens that holds the prompt's text and logprobs.
    """
    choices = _Choices(n)
    async with aclosing(events):
        async for event in events:
            for told in choices.feed(event):
                yield told


class _Choices:
    """What choices have said so far, and which of them wait for the prompt's text and scores."""

    def __init__(self, n: int) -> None:
        self._scores: PromptScored | None = None
        self._waiting = set(range(n))
        self._texts: dict[int, str] = {}
        self._held: dict[int, list[Delta | ChoiceEnd]] = {index: [] for index in range(n)}

    def feed(self, event: Event) -> Iterator[Event]:
        """What may be told now."""
        if isinstance(event, PromptScored):
            self._scores = event
            for index in sorted(self._waiting):
                yield from self._begin(event.id, index)
        elif isinstance(event, Delta | ChoiceEnd) and event.index in self._waiting:
            self._hold(event)
            yield from self._begin(event.id, event.index)
        else:
            if isinstance(event, Finish):
                for index in sorted(self._waiting):
                    yield from self._release(event.id, index)
            yield event

    def _hold(self, event: Delta | ChoiceEnd) -> None:
        held = self._held[event.index]
        begun = any(isinstance(other, Delta) for other in held)
        if isinstance(event, Delta) and event.n_tokens == 0 and not begun:
            self._texts[event.index] = self._texts.get(event.index, "") + event.text
        else:
            held.append(event)

    def _begin(self, request_id: str, index: int) -> Iterator[Event]:
        """Once the scores are here, and the text, which comes before anything generated."""
        has_text = index in self._texts or any(isinstance(event, Delta) for event in self._held[index])
        if self._scores is not None and has_text:
            yield from self._release(request_id, index)

    def _release(self, request_id: str, index: int) -> Iterator[Event]:
        self._waiting.discard(index)
        logprobs = () if self._scores is None else self._scores.logprobs
        text = self._texts.pop(index, "")
        if text or logprobs:
            yield Delta(id=request_id, index=index, text=text, n_tokens=0, logprobs=logprobs)
        yield from self._held.pop(index)
