"""`RequestStream`: one running request, between a worker's connection and its events' listener."""

from __future__ import annotations

import asyncio

from models.errors import WorkerDied
from server.engine.events import Delta, Event, Failure, Finish
from server.supervisor.protocol import EventListener


class RequestStream:
    """Hands each event to the listener in the call that brings it.

    `ended` is done after the terminal event; it raises what the listener raised, which ends this request
    alone, and WorkerDied when the worker has ended before it began the request.
    """

    __slots__ = ("_failed", "_listener", "ended", "has_output", "started")

    def __init__(self, listener: EventListener) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.started = False
        """True once the worker has begun the request: another one can't have it any more."""
        self.has_output = False
        """True once the client may have a part of the answer."""
        self._listener = listener
        self._failed = False

    def on_event(self, event: Event) -> bool:
        """Hand an event on; return True for the terminal one. Raises nothing: other requests go on."""
        self.started = True
        terminal = False
        if isinstance(event, Delta):
            self.has_output = True
        elif isinstance(event, Finish | Failure):
            terminal = True
        if not self._failed:
            try:
                self._listener.on_event(event)
            except Exception as error:  # noqa: BLE001 — raised again where `ended` is awaited
                self._failed = True
                self._end(error)
        if terminal:
            self._end(None)
        return terminal

    def refuse(self, error: WorkerDied) -> None:
        """The worker is gone. Only while not `started`."""
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():  # the listener has failed, or nobody waits any more
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
