"""`Generation`: one request's events, from the search for a worker to the last event."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import NoReturn

from models.errors import WorkerDied
from server.engine.events import Event, Failure, Finish
from server.ipc.messages import Generate
from server.supervisor.hosted_model import StillLoading
from server.supervisor.process import WorkerProcess
from server.supervisor.request_stream import Listener, RequestStream

FindWorker = Callable[[WorkerDied | None], Awaitable[WorkerProcess]]


class Generation(AsyncGenerator[Event, None]):
    """An async generator of events, that can also hand them on without waking a task for each: `listen`.

    `find_worker(None)` gives the worker that is to have the request; after a death before the request was
    taken it is called once more with that error, and may raise it. Nothing is sent before the first `anext`.
    """

    def __init__(self, request: Generate, find_worker: FindWorker) -> None:
        self._request = request
        self._find_worker = find_worker
        self._worker: WorkerProcess | None = None
        self._stream: RequestStream | None = None
        self._ended = False

    async def __anext__(self) -> Event:
        if self._ended:
            raise StopAsyncIteration
        try:
            event = await (self._begin() if self._stream is None else self._stream.next())
        except StillLoading as error:
            self._ended = True
            return _unavailable(self._request.id, error)
        except BaseException:
            await self.aclose()
            raise
        if isinstance(event, Finish | Failure):
            self._ended = True
        return event

    def listen(self, listener: Listener) -> None:
        """Call `listener` with each event that is left, in the call that brings it; it must not raise.

        After the first event was taken, and in place of taking more. `aclose` still cancels the request.
        """
        assert self._stream is not None or self._ended
        if self._stream is not None:
            self._stream.listen(listener)

    async def aclose(self) -> None:
        """Cancel the request if it hasn't ended. Harmless when repeated."""
        self._ended = True
        if self._worker is not None:
            self._worker.close(self._request.id)
            self._worker = None

    async def _begin(self) -> Event:
        died: WorkerDied | None = None
        while True:
            try:
                worker = await self._find_worker(died)
                stream = worker.open(self._request)
                self._worker = worker
                event = await stream.next()
            except WorkerDied as error:
                self._worker = None
                if died is not None:
                    raise
                died = error
                continue
            self._stream = stream
            return event

    # --- what makes it a generator ---

    async def asend(self, value: None) -> Event:  # noqa: ARG002
        return await self.__anext__()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: object = None,  # noqa: ARG002
        tb: TracebackType | None = None,  # noqa: ARG002
    ) -> NoReturn:
        await self.aclose()
        raise typ


def _unavailable(request_id: str, error: StillLoading) -> Failure:
    return Failure(
        id=request_id, kind="unavailable", message=error.message, retry_after_s=error.retry_after_s
    )
