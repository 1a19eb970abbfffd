"""`AnswerParts`: a chat's events, with thoughts and tool calls read out of the text."""

from __future__ import annotations

from server.answers.read_source import ReadSource
from server.openai.requests.answer_options import AnswerOptions
from server.openai.steps.shown_thoughts import ShownThoughts
from server.supervisor.protocol import EventListener, EventSource


class AnswerParts:
    """An `EventSource` of the events of another, with an answer's parts in place of its text."""

    def __init__(self, source: EventSource, options: AnswerOptions) -> None:
        self._source = ReadSource(source, options.tools)
        self._options = options

    async def subscribe(self, listener: EventListener) -> None:
        if self._options.thoughts != "field":
            listener = ShownThoughts(listener, self._options.thoughts)
        await self._source.subscribe(listener)
