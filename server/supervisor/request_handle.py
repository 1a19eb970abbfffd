"""`RequestHandle`: one request's way through workers, from the search for one to the last event."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from models.errors import CorralError, WorkerDied
from server.engine.events import Failure
from server.ipc.messages import Generate, Work
from server.metrics.request_meter import RequestMeter
from server.requests.answer_record import AnswerRecord
from server.requests.resume import MAX_WORKERS, resume
from server.supervisor.core_share import CoreShare
from server.supervisor.load_wait import StillLoading
from server.supervisor.process.failures import AnswerCut
from server.supervisor.process.worker_process import WorkerProcess
from server.supervisor.protocol import EventListener

Lease = Callable[[WorkerDied | None], AbstractAsyncContextManager[WorkerProcess]]


class RequestHandle:
    """An `EventSource`.

    `lease(None)` is entered for the worker that is to have the request, and left at its end; after a death it
    is called once more with that error, and may raise it. Nothing is sent before `subscribe`.

    The second worker begins what the first hadn't begun, and goes on with an answer whose beginning came: the
    listener sees a pause. Where that can't be, the answer ends with the error of the death.
    """

    def __init__(
        self, request: Work, lease: Lease, share: CoreShare, meter: RequestMeter | None = None
    ) -> None:
        self._share = share
        self._request = request
        self._lease = lease
        self._meter = meter

    async def subscribe(self, listener: EventListener) -> None:
        """Run the request, on a second worker if the first dies; see `EventSource`."""
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
        record = AnswerRecord(request.n, time.monotonic()) if isinstance(request, Generate) else None
        for number in range(1, MAX_WORKERS + 1):
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
                if failure is not None:
                    self._fail(failure, listener)
                    return
                if not isinstance(error, WorkerDied) or number == MAX_WORKERS:
                    raise
                died = error
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
        async with AsyncExitStack() as stack:
            worker = await stack.enter_async_context(self._lease(died))
            if self._meter is not None and not (record is not None and record.is_begun):
                self._meter.sent()
            stack.enter_context(self._share.running(worker, request))
            if record is not None:
                record.n_workers += 1
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
