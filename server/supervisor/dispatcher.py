"""Who gets what a worker says: the streams of running requests, callers that wait for a reply, and whoever
waits for the load. For `WorkerProcess`, whose connection calls `take`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from models.errors import RequestError
from server.engine.events import Delta, Event, Failure, Finish
from server.ipc.messages import LoadFailed, Loading, Ready, Reply, StepEvents
from server.ipc.model_spec import ModelInfo
from server.supervisor.exit_report import ExitReport
from server.supervisor.failures import cut_off, death, refusal
from server.supervisor.request_stream import RequestStream


class Recipients:
    """Belongs to the event loop in which it is made.

    `loaded`: the model's info, or what the load failed with. `heard` is set by each message; whoever watches
    for hangs takes it back.
    """

    def __init__(self, name: str) -> None:
        self.loaded: asyncio.Future[ModelInfo] = asyncio.get_running_loop().create_future()
        self.on_progress: Callable[[float], None] | None = None
        self.heard = False
        self._name = name
        self._streams: dict[str, RequestStream] = {}
        self._calls: dict[str, asyncio.Future[Reply]] = {}

    @property
    def n_streams(self) -> int:
        """Requests that have not ended."""
        return len(self._streams)

    def check_new(self, request_id: str) -> None:
        """Raises RequestError if a running request has that id."""
        if request_id in self._streams:
            raise RequestError(f"a request with the id {request_id} is running already; ids must be unique")

    def open(self, request_id: str) -> RequestStream:
        """From now on its events go there, to the last one."""
        stream = self._streams[request_id] = RequestStream()
        return stream

    def close(self, request_id: str) -> bool:
        """Nobody wants its events any more. Whether it had not ended."""
        return self._streams.pop(request_id, None) is not None

    def expect(self, call_id: str) -> asyncio.Future[Reply]:
        """The reply to a call; `forget` it in any case."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._calls[call_id] = future
        return future

    def forget(self, call_id: str) -> None:
        self._calls.pop(call_id, None)

    def take(self, reply: Reply) -> None:
        """Called for each message in the call that brings it: nothing here may wait or raise."""
        self.heard = True
        if isinstance(reply, StepEvents):
            self._take_events(reply.events)
            return
        match reply:
            case Loading(progress=progress):
                if self.on_progress is not None:
                    self.on_progress(progress)
            case Ready(info=info):
                if not self.loaded.done():
                    self.loaded.set_result(info)
            case LoadFailed():
                if not self.loaded.done():
                    self.loaded.set_exception(refusal(reply))
            case Failure() if reply.id in self._streams:
                self._take_events([reply])
            case _:
                future = self._calls.get(reply.id)
                if future is not None and not future.done():
                    future.set_result(reply)

    def settle(self, report: ExitReport) -> None:
        """Every waiting party gets its answer: the process is gone."""
        if not self.loaded.done():
            self.loaded.set_exception(death(self._name, report, "while loading it"))
        if not self.loaded.cancelled():
            self.loaded.exception()  # nobody may be waiting for it any more
        streams, self._streams = self._streams, {}
        for request_id, stream in streams.items():
            if stream.started:
                stream.put(cut_off(request_id, self._name, report, has_output=stream.has_output))
            else:
                stream.put(death(self._name, report, "before it took this request"))
        for future in self._calls.values():
            if not future.done():
                future.set_exception(death(self._name, report, "before it answered"))

    def _take_events(self, events: Sequence[Event]) -> None:
        streams = self._streams
        for event in events:
            stream = streams.get(event.id)
            if stream is None:  # it was cancelled here, and the worker had not heard yet
                continue
            stream.started = True
            if isinstance(event, Delta):
                stream.has_output = True
            elif isinstance(event, Finish | Failure):
                del streams[event.id]
            stream.put(event)
