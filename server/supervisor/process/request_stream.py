"""`RequestStream`: one running request, between a worker's connection and its events' listener."""

from __future__ import annotations

import asyncio
import time

from models.errors import WorkerDied
from server.engine.events import WORKER_DIED, Delta, Event, Failure, Finish
from server.metrics.request_meter import RequestMeter
from server.metrics.step import Step
from server.requests.answer_record import AnswerRecord
from server.requests.resume import can_resume
from server.supervisor.process.failures import AnswerCut, ResumeRefused
from server.supervisor.protocol import EventListener, FrameListener

_REFUSALS = ("invalid_request", "busy")


class RequestStream:
    """Hands each event to the listener in the call that brings it.

    `ended` is done after the terminal event; it raises what the listener raised, which ends this request
    alone, WorkerDied when the worker has ended before it began the request, AnswerCut when it has ended later
    and the answer can go on in another one, and ResumeRefused when this is the other one and can't.
    """

    __slots__ = ("_failed", "_listener", "_meter", "_record", "ended", "has_output", "relay", "started")

    def __init__(
        self,
        listener: EventListener,
        meter: RequestMeter | None = None,
        record: AnswerRecord | None = None,
    ) -> None:
        """`record` takes what comes, and has what came from earlier workers; None: the answer can't go on."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.started = False
        """True once this worker has begun the request."""
        self.has_output = record is not None and record.has_tokens
        """True once the client may have a part of the answer."""
        self.relay = listener if _is_unread(meter, record) and isinstance(listener, FrameListener) else None
        """This may have further text in place of `on_event`, as the frames that brought it."""
        self._listener = listener
        self._meter = meter
        self._record = record
        self._failed = False

    def on_event(self, event: Event, step: Step | None = None) -> bool:
        """Hand on an event of a step, or one that comes by itself; return True for the terminal one.

        Raises nothing: other requests go on.
        """
        record = self._record
        if record is not None:
            now_s = time.monotonic() if step is None else step.now_s
            if isinstance(event, Delta):
                record.on_delta(event, now_s)
            else:
                if isinstance(event, Failure) and (error := self._turn(event, record)) is not None:
                    self._end(error)
                    return True
                shown = record.on_event(event, now_s)
                if shown is None:
                    self.started = True
                    return False
                event = shown
        return self._hand_on(event, step)

    def cut(self, died: WorkerDied, failure: Failure, *, goes_on: bool) -> bool:
        """The worker is gone, after it had begun; return True if the answer can go on in another one.

        Else, or if it isn't to (`goes_on`), `failure` ends it.
        """
        if goes_on and self._record is not None and can_resume(self._record):
            self._end(AnswerCut(died, failure))
            return True
        self._hand_on(failure)
        return False

    def refuse(self, error: Exception) -> None:
        """The worker is gone, or doesn't take the request. Only while not `started`."""
        self._end(error)

    # --- inside ---

    def _turn(self, failure: Failure, record: AnswerRecord) -> AnswerCut | ResumeRefused | None:
        """Return the error for a failure that isn't to be the request's end; None for any other.

        The worker fails in all its requests and ends, or it can't go on with what another one has begun.
        """
        if failure.code == WORKER_DIED:
            return AnswerCut(WorkerDied(failure.message), failure) if can_resume(record) else None
        goes_on_here = record.is_begun and not self.started
        return ResumeRefused(failure.message) if goes_on_here and failure.kind in _REFUSALS else None

    def _hand_on(self, event: Event, step: Step | None = None) -> bool:
        """Tell listener and meter; return True for the terminal event."""
        self.started = True
        text = event if isinstance(event, Delta) else None
        if text is not None:
            self.has_output = True
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
        if text is not None or not isinstance(event, Finish | Failure):
            return False
        self._end(None)
        return True

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():  # the listener has failed, or nobody waits any more
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


def _is_unread(meter: RequestMeter | None, record: AnswerRecord | None) -> bool:
    """Return True if an answer's text is neither counted here nor kept for a next worker."""
    return meter is None and (record is None or record.max_workers == 1)
