"""`EchoLogprobs`: the step that joins a prompt's scores to the choices that echo it. Pure.

The engine sends a prompt's scores once and its text once per choice, in any order, and other choices may be
ahead of the one that scores. Clients get both in the first part of each choice.
"""

from __future__ import annotations

from server.engine.events import ChoiceEnd, Delta, Event, Finish, PromptPart, PromptScored, TokenLogprob
from server.supervisor.protocol import EventListener

PART_TOKENS = 128
"""So many tokens of a prompt are handed on at once, each with its alternatives."""


class EchoLogprobs:
    """An `EventListener` that hands the events of one request with `n` choices on, without `PromptScored`.

    Instead each choice begins with a `Delta` of no tokens that holds the prompt's text and logprobs. A long
    prompt's are in several, all but the last a `PromptPart`.
    """

    def __init__(self, listener: EventListener, n: int) -> None:
        self._listener = listener
        self._scores: list[TokenLogprob] = []
        self._scored = False
        """True once all scores are here."""
        self._waiting = set(range(n))
        """The choices that wait for the prompt's text or scores."""
        self._texts: dict[int, str] = {}
        self._held: dict[int, list[Delta | ChoiceEnd]] = {index: [] for index in range(n)}

    def on_event(self, event: Event) -> None:
        if isinstance(event, PromptScored):
            self._scores += event.logprobs
            self._scored = not event.more
            for index in sorted(self._waiting):
                self._begin(event.id, index)
        elif isinstance(event, Delta | ChoiceEnd) and event.index in self._waiting:
            self._hold(event)
            self._begin(event.id, event.index)
        else:
            if isinstance(event, Finish):
                for index in sorted(self._waiting):
                    self._release(event.id, index)
            self._listener.on_event(event)

    async def drained(self) -> None:
        await self._listener.drained()

    def _hold(self, event: Delta | ChoiceEnd) -> None:
        held = self._held[event.index]
        begun = any(isinstance(other, Delta) for other in held)
        if isinstance(event, Delta) and event.is_prompt and not begun:
            self._texts[event.index] = self._texts.get(event.index, "") + event.text
        else:
            held.append(event)

    def _begin(self, request_id: str, index: int) -> None:
        """Release the choice once scores and text are here. The text comes before anything generated."""
        has_text = index in self._texts or any(isinstance(event, Delta) for event in self._held[index])
        if self._scored and has_text:
            self._release(request_id, index)

    def _release(self, request_id: str, index: int) -> None:
        self._waiting.discard(index)
        scores, text = self._scores, self._texts.pop(index, "")
        n_last = max(0, len(scores) - 1) // PART_TOKENS * PART_TOKENS
        for start in range(0, n_last, PART_TOKENS):
            part = tuple(scores[start : start + PART_TOKENS])
            self._listener.on_event(
                PromptPart(id=request_id, index=index, text=text, n_tokens=0, logprobs=part, is_prompt=True)
            )
            text = ""
        if text or scores:
            last = tuple(scores[n_last:])
            self._listener.on_event(
                Delta(id=request_id, index=index, text=text, n_tokens=0, logprobs=last, is_prompt=True)
            )
        for event in self._held.pop(index):
            self._listener.on_event(event)
