"""`Dispatcher`: hands a worker's messages to the requests, calls and load that wait for them.

For `WorkerProcess`, whose connection calls `on_frame`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from models.errors import RequestError
from server.engine.events import Event, Failure
from server.ipc.frames import decode_reply
from server.ipc.messages import LoadFailed, Loading, Ready, Reply, StatsReply, StepEvents
from server.ipc.model_spec import ModelInfo
from server.ipc.parts import joined
from server.ipc.step_frames import delta_ids, split_step
from server.metrics.request_meter import RequestMeter
from server.metrics.step import Step
from server.requests.answer_record import AnswerRecord
from server.supervisor.process.exit_report import ExitReport
from server.supervisor.process.failures import cut_off, death, refusal
from server.supervisor.process.request_stream import RequestStream
from server.supervisor.protocol import EventListener

logger = logging.getLogger("corral.supervisor")

OnProgress = Callable[[float], None]
OnPart = Callable[[Any], None]


class Dispatcher:
    """Belongs to the event loop in which it is made. `on_progress` gets the progress of the load, 0 to 1."""

    def __init__(self, name: str, on_progress: OnProgress) -> None:
        self.loaded: asyncio.Future[ModelInfo] = asyncio.get_running_loop().create_future()
        """The model's info, or the failure of the load."""
        self.n_messages = 0
        """The messages so far; a worker for which this doesn't change may hang."""
        self.stats: StatsReply | None = None
        """The latest counters that came, whoever has asked for them."""
        self._name = name
        self._on_progress = on_progress
        self._streams: dict[str, RequestStream] = {}
        self._may_relay = False
        """A stream with a relay has been opened: a frame of text may be one that nobody has to read here."""
        self._step = Step(0.0)
        self._calls: dict[str, _Call] = {}

    @property
    def n_streams(self) -> int:
        """The number of requests that have not ended."""
        return len(self._streams)

    @property
    def n_started(self) -> int:
        """The number of those that the worker has begun."""
        return sum(stream.started for stream in self._streams.values())

    @property
    def has_work(self) -> bool:
        """True while requests or calls wait for the worker."""
        return bool(self._streams or self._calls)

    def check_new(self, request_id: str) -> None:
        """Raises RequestError if a running request has that id."""
        if request_id in self._streams:
            raise RequestError(f"a request with the id {request_id} is running already; ids must be unique")

    def open(
        self,
        request_id: str,
        listener: EventListener,
        meter: RequestMeter | None = None,
        record: AnswerRecord | None = None,
    ) -> RequestStream:
        """Hand the request's events to `listener`, `meter` and `record` from now on, to the last one."""
        stream = self._streams[request_id] = RequestStream(listener, meter, record)
        self._may_relay = self._may_relay or stream.relay is not None
        return stream

    def close(self, request_id: str) -> bool:
        """Drop the request's events from now on. Return True if it had not ended."""
        return self._streams.pop(request_id, None) is not None

    def expect(self, call_id: str, on_part: OnPart | None = None) -> asyncio.Future[Reply]:
        """Return the future reply to a call; `forget` it in any case.

        `on_part` gets each part of a long reply but the last; without it the parts come as one.
        """
        call = self._calls[call_id] = _Call(on_part)
        return call.future

    def forget(self, call_id: str) -> None:
        self._calls.pop(call_id, None)

    def on_frame(self, payload: bytes) -> None:
        """Hand one message on, in the call that brings it: nothing here may wait.

        Raises FrameError, and nothing else, if it doesn't decode.
        """
        if self._may_relay and self._relay(payload):
            self.n_messages += 1
        else:
            self.on_reply(decode_reply(payload))

    def on_reply(self, reply: Reply) -> None:
        """Hand one decoded message on. Raises nothing."""
        self.n_messages += 1
        if isinstance(reply, StepEvents):
            self._on_events(reply.events)
            return
        match reply:
            case Loading(progress=progress):
                self._on_progress(progress)
            case Ready(info=info):
                if not self.loaded.done():
                    self.loaded.set_result(info)
            case LoadFailed():
                if not self.loaded.done():
                    self.loaded.set_exception(refusal(reply))
            case Failure() if reply.id in self._streams:
                self._on_events([reply])
            case _:
                if isinstance(reply, StatsReply):
                    self.stats = reply
                call = self._calls.get(reply.id)
                if call is not None:
                    call.on_reply(reply)

    def settle(self, report: ExitReport, *, goes_on: bool = True) -> None:
        """Answer every waiting party: the process is gone. Its answers may go on in the next if `goes_on`."""
        if not self.loaded.done():
            self.loaded.set_exception(death(self._name, report, "while loading it"))
        if not self.loaded.cancelled():
            self.loaded.exception()  # nobody may be waiting for it any more
        streams, self._streams = self._streams, {}
        n_begun = n_resumed = 0
        for request_id, stream in streams.items():
            if stream.started:
                failure = cut_off(request_id, self._name, report, has_output=stream.has_output)
                n_begun += 1
                n_resumed += stream.cut(death(self._name, report), failure, goes_on=goes_on)
            else:
                stream.refuse(death(self._name, report, "before it took this request"))
        if n_resumed:
            logger.warning("%s: %d of %d answers go on in the next worker", self._name, n_resumed, n_begun)
        for call in self._calls.values():
            if not call.future.done():
                call.future.set_exception(death(self._name, report, "before it answered"))

    def _relay(self, payload: bytes) -> bool:
        """Hand a frame on unread, if all in it is more text for those that take frames; return True then."""
        relays = []
        for request_id in delta_ids(payload):
            stream = self._streams.get(request_id)
            if stream is None or stream.relay is None or not stream.has_output:
                return False
            relays.append(stream.relay)
        if not relays:
            return False
        if relays.count(relays[0]) == len(relays):
            relays[0].on_frame(payload)
        else:
            for relay, part in split_step(payload, relays).items():
                relay.on_frame(part)
        return True

    def _on_events(self, events: Sequence[Event]) -> None:
        streams, step = self._streams, Step(time.monotonic(), self._step)
        self._step = step
        for event in events:
            stream = streams.get(event.id)
            if stream is None:  # it was cancelled here before the worker learnt of it
                continue
            if stream.on_event(event, step):
                del streams[event.id]
        step.end()


class _Call:
    """A call that waits for its reply."""

    def __init__(self, on_part: OnPart | None) -> None:
        self.future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._on_part = on_part
        self._parts: list[Reply] = []

    def on_reply(self, reply: Reply) -> None:
        """Take a reply, or a part of it. Raises nothing."""
        if self.future.done():
            return
        if not getattr(reply, "more", False):
            self.future.set_result(joined([*self._parts, reply]))
        elif self._on_part is None:
            self._parts.append(reply)
        else:
            try:
                self._on_part(reply)
            except Exception as error:  # noqa: BLE001 — raised again where the reply is awaited
                self.future.set_exception(error)
