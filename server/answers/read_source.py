"""`ReadSource`: a request's events, with the answer's parts in place of its text."""

from __future__ import annotations

from collections.abc import Sequence

from server.answers.reader import AnswerReader
from server.chat.tools import Tool
from server.supervisor.protocol import EventListener, EventSource


class ReadSource:
    """An `EventSource` of the events of another, read by an `AnswerReader`."""

    def __init__(self, source: EventSource, tools: Sequence[Tool]) -> None:
        """`tools`: those that the answer may call."""
        self._source = source
        self._tools = tools

    async def subscribe(self, listener: EventListener) -> None:
        """Run the request as the other source does."""
        await self._source.subscribe(AnswerReader(listener, self._tools))
