"""`RunningResponses`: the responses that are being made, so that they can be asked for and cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from server.responses.answer import ResponseAnswer


@dataclass
class Running:
    """One response that is being made."""

    owner: str
    answer: ResponseAnswer
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class RunningResponses:
    """The running responses, by their ids. Used on the event loop."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}

    def find(self, owner: str, response_id: str) -> Running | None:
        """Return a running response of this owner."""
        running = self._running.get(response_id)
        return running if running is not None and running.owner == owner else None

    @contextmanager
    def registered(self, running: Running) -> Iterator[None]:
        """Let the response be found while it is made."""
        self._running[running.answer.id] = running
        try:
            yield
        finally:
            del self._running[running.answer.id]
            running.ended.set()
