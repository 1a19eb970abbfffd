"""The events of one running request, between the worker's connection and whoever answers the client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from models.errors import WorkerDied
from server.engine.events import Event

Listener = Callable[[Event], None]


class RequestStream:
    """Keeps events until `next` takes them; after `listen` each is handed on as it comes.

    What is kept is bounded by the request's own length. One reader.
    """

    __slots__ = ("_events", "_waiter", "has_output", "put", "started")

    def __init__(self) -> None:
        self.started = False
        """The worker has taken the request: another one can't have it any more."""
        self.has_output = False
        self.put: Callable[[Event | WorkerDied], None] = self._keep
        """Where the connection puts an event. WorkerDied comes only while not `started`."""
        self._events: deque[Event | WorkerDied] = deque()
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> Event:
        """The next event, waiting for it. Raises WorkerDied."""
        while not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        event = self._events.popleft()
        if isinstance(event, WorkerDied):
            raise event
        return event

    def listen(self, listener: Listener) -> None:
        """Hand on what is kept, and from now on every event in the call that brings it.

        Only after a first event was taken with `next`; which isn't used any more. `listener` must not raise.
        """
        assert self.started
        while self._events:
            event = self._events.popleft()
            assert not isinstance(event, WorkerDied)
            listener(event)
        self.put = listener  # type: ignore[assignment]

    def _keep(self, event: Event | WorkerDied) -> None:
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
