"""`iterate`: a source's events for `async for`, where a task per event is no concern."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from server.engine.events import Event
from server.supervisor.protocol import EventSource


async def iterate(source: EventSource) -> AsyncGenerator[Event, None]:
    """Yield the source's events. Closing this cancels the request. Raises what `subscribe` raises."""
    events = _Queue()
    run = asyncio.create_task(source.subscribe(events))
    run.add_done_callback(lambda _: events.queue.put_nowait(None))
    try:
        while (event := await events.queue.get()) is not None:
            yield event
        await run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


class _Queue:
    """An `EventListener` that keeps the events."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def on_event(self, event: Event) -> None:
        self.queue.put_nowait(event)

    async def drained(self) -> None:
        """Return at once: what is kept is bounded by the answer's length."""
