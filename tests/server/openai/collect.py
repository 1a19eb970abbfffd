"""A listener that keeps what it gets."""

from __future__ import annotations

from server.engine.events import Event
from server.supervisor.protocol import EventSource


class Collector:
    """An `EventListener` whose events a test looks at."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    async def drained(self) -> None:
        """Return at once."""


async def collect(source: EventSource) -> list[Event]:
    """Return every event of the source."""
    collector = Collector()
    await source.subscribe(collector)
    return collector.events
