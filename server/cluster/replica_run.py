"""`ReplicaRun`: runs a request in one replica of a deployment, for `RequestHandle`.

The call tells of the request's end in the replica, the link brings its events, and either may come first. A
call that has failed before a replica took the request is made again; what comes after that is a death, and
the handle's concern.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from dataclasses import dataclass

import msgspec

from models.errors import WorkerBusy
from server.cluster.calls import decode_refusal, encode_call, error_of
from server.cluster.handles import DeploymentHandle, ReplicaLost, ReplyTo
from server.cluster.run_table import Run, RunTable
from server.ipc.messages import Work
from server.metrics.request_meter import RequestMeter
from server.requests.answer_record import AnswerRecord
from server.supervisor.load_wait import StillLoading
from server.supervisor.process.request_stream import RequestStream
from server.supervisor.protocol import EventListener

FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 1.0
LAST_WORDS_S = 5.0
"""The last events of a request whose call has returned may take so long to come."""


@dataclass(frozen=True, slots=True)
class Destination:
    """The replicas that may have a request, and what they are to be told."""

    deployment: str
    handle: DeploymentHandle
    name: str
    """The replica's own name for the model; empty: its main one."""
    prefix_key: str
    reply_to: ReplyTo
    load_wait_s: float
    """A replica has to take the request within so many seconds."""
    hurry_s: float
    """A request that a replica was lost with is called for anew if none takes it within so many seconds, then
    within twice as many: its call may wait for one that is silent."""


class ReplicaRun:
    """A `RequestRunner` for one request, once.

    Before the request's first event its stream raises a replica's refusal, and `StillLoading` if none took it
    in time; `WorkerBusy` if all were full, but a request that a replica was lost with waits for a place.
    """

    alive = False
    """When a request was cut, nothing is left that has to end before the next replica has it."""

    def __init__(self, destination: Destination, table: RunTable, calls: set[asyncio.Task[None]]) -> None:
        """`calls` has the task of the call as long as that lasts: some moments more than the request."""
        self._destination = destination
        self._table = table
        self._calls = calls
        self._run: Run | None = None
        self._call: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None

    @property
    def deployment(self) -> str:
        """The name of the deployment that is called."""
        return self._destination.deployment

    @property
    def waits(self) -> bool:
        """True until a replica has taken the request."""
        return self._run is None or self._run.peer is None

    def open(
        self,
        request: Work,
        listener: EventListener,
        meter: RequestMeter | None = None,
        record: AnswerRecord | None = None,
    ) -> RequestStream:
        """Call a replica; `listener` gets the request's events. `close` it in any case."""
        stream = RequestStream(listener, meter, record)
        waits = record is not None and record.n_workers > 1
        self._call = asyncio.create_task(self._bring(request, stream, waits=waits))
        self._calls.add(self._call)
        self._call.add_done_callback(self._calls.discard)
        loop, wait_s = asyncio.get_running_loop(), self._destination.load_wait_s
        self._patience = loop.call_later(wait_s, self._give_up, stream)
        return stream

    def close(self, request_id: str) -> None:  # noqa: ARG002 - it has one request
        """Cancel the request if it hasn't ended in the replica."""
        if self._patience is not None:
            self._patience.cancel()
        run = self._run
        if run is not None and run.is_over:
            return
        if run is not None:
            self._table.close(run, cancel=True)
        if self._call is not None:
            self._call.cancel()

    async def ended(self) -> None:
        """Return at once."""

    # --- inside ---

    async def _bring(self, request: Work, stream: RequestStream, *, waits: bool) -> None:
        """Call replicas until one has taken the request, and it has ended or been cut there."""
        key, delay_s = self._destination.prefix_key, FIRST_DELAY_S
        hurry_s = self._destination.hurry_s if waits else math.inf
        for n_calls in itertools.count(1):
            run = self._run = self._table.open(request.id, self._destination.deployment, stream)
            try:
                await self._run_in(run, request, key, hurry_s)
            except ReplicaLost as error:
                if self._cut(run, error):
                    return
                key = f"{self._destination.prefix_key}-{n_calls}"
            except WorkerBusy as error:
                if not waits or stream.started:
                    self._refuse(run, error)
                    return
            except Exception as error:  # noqa: BLE001 — raised again where the stream's end is awaited
                self._refuse(run, error)
                return
            else:
                await asyncio.wait([stream.ended], timeout=LAST_WORDS_S)
                self._refuse(run, ReplicaLost("a replica has ended a request without its last events"))
                return
            finally:
                self._table.close(run)
            await asyncio.sleep(delay_s)
            delay_s, hurry_s = min(2 * delay_s, LONGEST_DELAY_S), 2 * hurry_s

    async def _run_in(self, run: Run, request: Work, key: str, hurry_s: float) -> None:
        """Call a replica; return when the request has ended there. Raises its refusal, and ReplicaLost."""
        to = self._destination
        frame = encode_call(msgspec.structs.replace(request, id=run.id))
        call = asyncio.ensure_future(to.handle.run(key, to.name, frame, to.reply_to))
        try:
            if hurry_s < math.inf:
                await asyncio.wait([call], timeout=hurry_s)
                if not call.done() and run.peer is None:
                    raise ReplicaLost(f"no replica of {to.deployment} has taken a request at once")
            await asyncio.wait([call])
        finally:
            call.cancel()
        if call.cancelled():
            raise ReplicaLost(f"the call to a replica of {to.deployment} was cancelled there")
        if refusal := call.result():
            raise error_of(decode_refusal(refusal))

    def _cut(self, run: Run, lost: ReplicaLost) -> bool:
        """Return True if a replica had taken the request: its stay there is over, if it wasn't before."""
        if run.stream.ended.done():
            return True
        if run.peer is None:
            return False
        self._table.close(run, cancel=True)
        run.cut(lost)
        return True

    def _refuse(self, run: Run, error: Exception) -> None:
        """End the stream, if nothing else has, with an error that came instead of events."""
        self._table.close(run, cancel=True)
        if not run.stream.started:
            run.stream.refuse(error)
        elif isinstance(error, ReplicaLost):
            run.cut(error)
        else:
            run.cut(ReplicaLost(f"a replica has failed in a request: {error}"))

    def _give_up(self, stream: RequestStream) -> None:
        """End the wait for a replica."""
        if self.waits:
            stream.refuse(
                StillLoading(
                    f"no replica of {self._destination.deployment} has taken the request within"
                    f" {self._destination.load_wait_s:.0f} s; send it again later"
                )
            )
