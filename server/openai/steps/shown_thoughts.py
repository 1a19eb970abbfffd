"""`ShownThoughts`: the step that puts an answer's thoughts where the client wants them. Pure.

The marks around thoughts that stay in the content are the model's own, on lines of their own, as nearly all
templates write them.
"""

from __future__ import annotations

import msgspec

from server.answers.events import ThoughtDelta
from server.engine.events import ChoiceEnd, Delta, Event, Started
from server.openai.requests.reasoning import ThoughtForm
from server.supervisor.protocol import EventListener

_USUAL = ("<think>", "</think>")
"""The marks for formats that mark thoughts in a way of their own."""


class ShownThoughts:
    """An `EventListener`: an answer's parts in, the same without thoughts, or with them as content, out."""

    def __init__(self, listener: EventListener, form: ThoughtForm) -> None:
        self._listener = listener
        self._form = form
        self._opening, self._closing = _USUAL
        self._open: set[int] = set()
        """The choices whose thoughts are open in the content."""

    def on_event(self, event: Event) -> None:
        """Take an event; hand on what becomes of it."""
        if isinstance(event, Started):
            self._opening, self._closing = (event.form and event.form.thoughts) or _USUAL
        if isinstance(event, ThoughtDelta):
            self._think(event)
            return
        if self._open and isinstance(event, Delta | ChoiceEnd) and event.index in self._open:
            self._close(event)
        self._listener.on_event(event)

    async def drained(self) -> None:
        """Wait for the next listener."""
        await self._listener.drained()

    def _think(self, event: ThoughtDelta) -> None:
        if self._form == "both":
            self._listener.on_event(event)
            event = msgspec.structs.replace(event, n_tokens=0, tokens=(), logprobs=())
        text = ""
        if self._form != "hidden":
            text = event.text if event.index in self._open else f"{self._opening}\n{event.text}"
            self._open.add(event.index)
        self._listener.on_event(_content(event, text))

    def _close(self, event: Delta | ChoiceEnd) -> None:
        """Write the closing mark, unless the answer ended, or only gave tokens, within the thoughts."""
        if isinstance(event, ChoiceEnd) and event.finish_reason == "length":
            return
        if type(event) is Delta and not event.text:
            return
        self._open.discard(event.index)
        ends = "" if isinstance(event, ChoiceEnd) else "\n\n"
        closing = Delta(id=event.id, index=event.index, text=f"\n{self._closing}{ends}", n_tokens=0)
        self._listener.on_event(closing)


def _content(event: ThoughtDelta, text: str) -> Delta:
    fields = {name: getattr(event, name) for name in Delta.__struct_fields__}
    return Delta(**{**fields, "text": text})
