"""`RequestHandle`: one request's way through workers, from the search for one to the last event."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from models.errors import CorralError, WorkerDied
from server.engine.events import Failure
from server.ipc.messages import Generate, Work
from server.metrics.request_meter import RequestMeter
from server.requests.answer_record import MAX_WORKERS, AnswerRecord
from server.requests.resume import resume
from server.supervisor.load_wait import StillLoading
from server.supervisor.process.failures import AnswerCut, ResumeRefused
from server.supervisor.process.request_stream import RequestStream
from server.supervisor.protocol import EventListener


class RequestRunner(Protocol):
    """A worker process, or a replica on some other machine: it runs a request."""

    @property
    def alive(self) -> bool:
        """False once it has gone, so that the next one needn't wait for its end."""

    def open(
        self,
        request: Work,
        listener: EventListener,
        meter: RequestMeter | None = None,
        record: AnswerRecord | None = None,
    ) -> RequestStream:
        """Send the request; `listener` gets its events, as `RequestStream` says. `close` it in any case."""

    def close(self, request_id: str) -> None:
        """Cancel the request if it hasn't ended."""

    async def ended(self) -> object:
        """Wait until it is gone. Only after it has told that it ends."""


Lease = Callable[[WorkerDied | None], AbstractAsyncContextManager[RequestRunner]]


class RequestHandle:
    """An `EventSource`.

    `lease(None)` is entered for the worker that is to have the request, and left at its end; after a death it
    is called again with that error, and may raise it. Nothing is sent before `subscribe`.

    The next worker begins what the one before hadn't begun, and goes on with an answer whose beginning came:
    the listener sees a pause. Where that can't be, the answer ends with the error of the death.
    """

    def __init__(
        self,
        request: Work,
        lease: Lease,
        meter: RequestMeter | None = None,
        *,
        max_workers: int = MAX_WORKERS,
    ) -> None:
        """`max_workers`: so many may have the request, one after the other."""
        self._request = request
        self._lease = lease
        self._meter = meter
        self._max_workers = max_workers

    async def subscribe(self, listener: EventListener) -> None:
        """Run the request, on another worker if one dies; see `EventSource`."""
        meter = self._meter
        if meter is None:
            await self._run(listener)
            return
        try:
            await self._run(listener)
        except BaseException as error:  # a cancelled one is counted, too
            meter.end(error)
            raise
        meter.end(None)

    async def _run(self, listener: EventListener) -> None:
        request, died, failure = self._request, None, None
        record = None
        if isinstance(request, Generate):
            record = AnswerRecord.of(request, time.monotonic(), self._max_workers)
        for number in range(1, self._max_workers + 1):
            if record is not None:
                record.n_workers = number
            try:
                await self._run_in_one(request, listener, record, died)
            except AnswerCut as cut:
                assert isinstance(request, Generate)
                assert record is not None
                died, failure = cut.died, cut.failure
                request = resume(request, record, time.monotonic())
                if record.is_begun:
                    record.resume()
                    if self._meter is not None:
                        self._meter.resumed()
            except StillLoading as error:
                self._fail(failure or _unavailable(self._request.id, error), listener)
                return
            except CorralError as error:
                if number < self._max_workers and isinstance(error, WorkerDied | ResumeRefused):
                    died = error if isinstance(error, WorkerDied) else died
                elif failure is not None:
                    self._fail(failure, listener)
                    return
                else:
                    raise
            else:
                return

    async def _run_in_one(
        self,
        request: Work,
        listener: EventListener,
        record: AnswerRecord | None,
        died: WorkerDied | None,
    ) -> None:
        """Run the request in one worker. Raises what a `RequestStream` does, and what the lease raises."""
        async with self._lease(died) as worker:
            if self._meter is not None and not (record is not None and record.is_begun):
                self._meter.sent()
            stream = worker.open(request, listener, self._meter, record)
            try:
                await stream.ended
            except AnswerCut:
                if worker.alive:  # it has told that it ends
                    await worker.ended()
                raise
            finally:
                worker.close(request.id)

    def _fail(self, failure: Failure, listener: EventListener) -> None:
        """End the request with `failure`."""
        if self._meter is not None:
            self._meter.on_event(failure, time.monotonic())
        listener.on_event(failure)


def _unavailable(request_id: str, error: StillLoading) -> Failure:
    return Failure(
        id=request_id,
        kind="unavailable",
        message=error.message,
        code="model_loading",
        retry_after_s=error.retry_after_s,
    )
