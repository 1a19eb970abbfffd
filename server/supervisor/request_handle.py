"""`RequestHandle`: one request's way to a worker, from the search for one to the last event."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from models.errors import WorkerDied
from server.engine.events import Failure
from server.ipc.messages import Work
from server.metrics.request_meter import RequestMeter
from server.supervisor.core_share import CoreShare
from server.supervisor.load_wait import StillLoading
from server.supervisor.process.worker_process import WorkerProcess
from server.supervisor.protocol import EventListener

Lease = Callable[[WorkerDied | None], AbstractAsyncContextManager[WorkerProcess]]


class RequestHandle:
    """An `EventSource`.

    `lease(None)` is entered for the worker that is to have the request, and left at its end; after a death
    before the request had begun it is called once more with that error, and may raise it. Nothing is sent
    before `subscribe`.
    """

    def __init__(
        self, request: Work, lease: Lease, share: CoreShare, meter: RequestMeter | None = None
    ) -> None:
        self._share = share
        self._request = request
        self._lease = lease
        self._meter = meter

    async def subscribe(self, listener: EventListener) -> None:
        """Run the request, on a second worker if the first dies before it takes it; see `EventSource`."""
        meter = self._meter
        if meter is None:
            await self._run_twice(listener)
            return
        try:
            await self._run_twice(listener)
        except BaseException as error:  # a cancelled one is counted, too
            meter.end(error)
            raise
        meter.end(None)

    async def _run_twice(self, listener: EventListener) -> None:
        try:
            await self._run(listener, None)
        except WorkerDied as died:
            await self._run(listener, died)

    async def _run(self, listener: EventListener, died: WorkerDied | None) -> None:
        async with AsyncExitStack() as stack:
            try:
                worker = await stack.enter_async_context(self._lease(died))
            except StillLoading as error:
                failure = _unavailable(self._request.id, error)
                if self._meter is not None:
                    self._meter.on_event(failure, time.monotonic())
                listener.on_event(failure)
                return
            if self._meter is not None:
                self._meter.sent()
            stack.enter_context(self._share.running(worker, self._request))
            stream = worker.open(self._request, listener, self._meter)
            try:
                await stream.ended
            finally:
                worker.close(self._request.id)


def _unavailable(request_id: str, error: StillLoading) -> Failure:
    return Failure(
        id=request_id,
        kind="unavailable",
        message=error.message,
        code="model_loading",
        retry_after_s=error.retry_after_s,
    )
