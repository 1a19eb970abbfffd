"""`ResponseSource`: a request's events as its answer's parts, and the keeping of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from models.errors import RequestError
from server.answers.reader import AnswerReader
from server.engine.events import Event, Failure, Finish
from server.openai.errors import RequestFailed
from server.responses.read import ResponseForm
from server.responses.running import Running, RunningResponses
from server.supervisor.protocol import EventListener, EventSource

CANCELLED = "cancelled_by_client"

Keep = Callable[[], Awaitable[str | None]]
"""Keeps the answer; returns in one line why it couldn't."""


class ResponseSource:
    """An `EventSource`: the worker's events in, read by an `AnswerReader`.

    The last event waits until the answer is kept: a client that has seen its end can go on with it, also
    after a crash, and one whose answer couldn't be kept is told so.
    """

    def __init__(
        self,
        source: EventSource,
        form: ResponseForm,
        running: Running,
        registry: RunningResponses,
        keep: Keep | None,
    ) -> None:
        self._source = source
        self._form = form
        self._running = running
        self._registry = registry
        self._keep = keep

    async def subscribe(self, listener: EventListener) -> None:
        """Run the request. Raises RequestFailed if another request has cancelled it."""
        last = _HeldEnd(listener)
        with self._registry.registered(self._running):
            if await self._run(AnswerReader(last, self._form.tools)):
                self._running.answer.cancel()
                await self._kept()
                raise RequestFailed(
                    Failure(
                        id=self._running.answer.id,
                        kind="cancelled",
                        message="the response was cancelled by a request",
                        code=CANCELLED,
                    )
                )
            if last.finish is None:
                return
            self._running.answer.complete(last.finish)
            await self._kept()
        listener.on_event(last.finish)

    async def _run(self, listener: EventListener) -> bool:
        """Run the request to its end; return True if it was cancelled before."""
        events = asyncio.ensure_future(self._source.subscribe(listener))
        cancelled = asyncio.ensure_future(self._running.cancelled.wait())
        try:
            await asyncio.wait((events, cancelled), return_when=asyncio.FIRST_COMPLETED)
            if events.done():
                events.result()
            return not events.done()
        except RequestError as error:
            error.param = _wire_param(error.param)
            raise
        finally:
            events.cancel()
            cancelled.cancel()
            await asyncio.gather(events, cancelled, return_exceptions=True)

    async def _kept(self) -> None:
        if self._keep is not None:
            warning = await self._keep()
            if warning is not None:
                self._running.answer.is_not_kept(warning)


class _HeldEnd:
    """An `EventListener` that hands all on but `Finish`, which it holds."""

    def __init__(self, listener: EventListener) -> None:
        self.finish: Finish | None = None
        self._listener = listener

    def on_event(self, event: Event) -> None:
        if isinstance(event, Finish):
            self.finish = event
            return
        if isinstance(event, Failure):
            event = msgspec.structs.replace(event, param=_wire_param(event.param))
        self._listener.on_event(event)

    async def drained(self) -> None:
        await self._listener.drained()


def _wire_param(param: str | None) -> str | None:
    """Return the client's name of what a worker calls `messages`: they were made of the input's items."""
    return "input" if param is not None and param.partition("[")[0] == "messages" else param
