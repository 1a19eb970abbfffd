"""`RequestStream`: one running request, between a worker's connection and its events' listener."""

from __future__ import annotations

import asyncio
import time

from models.errors import WorkerDied
from server.engine.events import Delta, Event, Failure, Finish
from server.metrics.request_meter import RequestMeter
from server.metrics.step import Step
from server.supervisor.protocol import EventListener


class RequestStream:
    """Hands each event to the listener in the call that brings it.

    `ended` is done after the terminal event; it raises what the listener raised, which ends this request
    alone, and WorkerDied when the worker has ended before it began the request.
    """

    __slots__ = ("_failed", "_listener", "_meter", "ended", "has_output", "started")

    def __init__(self, listener: EventListener, meter: RequestMeter | None = None) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.started = False
        """True once the worker has begun the request: another one can't have it any more."""
        self.has_output = False
        """True once the client may have a part of the answer."""
        self._listener = listener
        self._meter = meter
        self._failed = False

    def on_event(self, event: Event, step: Step | None = None) -> bool:
        """Hand on an event of a step, or one that comes by itself; return True for the terminal one.

        Raises nothing: other requests go on.
        """
        self.started = True
        terminal = False
        text = event if isinstance(event, Delta) else None
        if text is not None:
            self.has_output = True
        elif isinstance(event, Finish | Failure):
            terminal = True
        if not self._failed:
            try:
                self._listener.on_event(event)
            except Exception as error:  # noqa: BLE001 — raised again where `ended` is awaited
                self._failed = True
                self._end(error)
        meter = self._meter
        if meter is not None:  # after the listener, who finds out what the events mean
            step = Step(time.monotonic()) if step is None else step
            if text is None:
                meter.on_event(event, step.now_s)
            elif meter.last is step.previous and text.n_tokens == 1 and text.index == meter.index:
                step.n_tokens += 1
                meter.last = step
            else:
                meter.on_token(text, step)
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
