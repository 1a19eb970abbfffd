"""`EchoLogprobs`: the step that joins a prompt's scores to the choices that echo it. Pure.

The engine sends a prompt's scores once and its text once per choice, in any order, and other choices may be
ahead of the one that scores. Clients get both in the first part of each choice.
"""

from __future__ import annotations

from server.engine.events import ChoiceEnd, Delta, Event, Finish, PromptScored
from server.supervisor.protocol import EventListener


class EchoLogprobs:
    """An `EventListener` that hands the events of one request with `n` choices on, without `PromptScored`.

    Instead each choice begins with a `Delta` of no tokens that holds the prompt's text and logprobs.
    """

    def __init__(self, listener: EventListener, n: int) -> None:
        self._listener = listener
        self._scores: PromptScored | None = None
        self._waiting = set(range(n))
        """The choices that wait for the prompt's text or scores."""
        self._texts: dict[int, str] = {}
        self._held: dict[int, list[Delta | ChoiceEnd]] = {index: [] for index in range(n)}

    def on_event(self, event: Event) -> None:
        if isinstance(event, PromptScored):
            self._scores = event
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
        if self._scores is not None and has_text:
            self._release(request_id, index)

    def _release(self, request_id: str, index: int) -> None:
        self._waiting.discard(index)
        logprobs = () if self._scores is None else self._scores.logprobs
        text = self._texts.pop(index, "")
        if text or logprobs:
            self._listener.on_event(
                Delta(id=request_id, index=index, text=text, n_tokens=0, logprobs=logprobs, is_prompt=True)
            )
        for event in self._held.pop(index):
            self._listener.on_event(event)
