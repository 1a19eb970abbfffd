"""`ReplicaRun`: runs a request in one replica of a deployment, for `RequestHandle`.

A request that a replica declines goes to another one, or waits for a place; what comes after a replica has
begun it is a death, and the handle's concern.
"""

from __future__ import annotations

import asyncio

from server.cluster.peers.run_table import Destination, Run, RunTable
from server.ipc.messages import Work
from server.metrics.request_meter import RequestMeter
from server.requests.answer_record import AnswerRecord
from server.supervisor.load_wait import StillLoading
from server.supervisor.process.request_stream import RequestStream
from server.supervisor.protocol import EventListener


class ReplicaRun:
    """A `RequestRunner` for one request, once.

    Before the request's first event its stream raises a replica's refusal, and `StillLoading` if no replica
    had a place within `load_wait_s` seconds.
    """

    alive = False
    """When a request was cut, nothing is left that has to end before the next replica has it."""

    def __init__(self, destination: Destination, table: RunTable, load_wait_s: float) -> None:
        self._destination = destination
        self._table = table
        self._load_wait_s = load_wait_s
        self._run: Run | None = None
        self._patience: asyncio.TimerHandle | None = None

    @property
    def replica(self) -> str | None:
        """The name of the replica that has the request, or had it; None while it waits for one."""
        peer = None if self._run is None else self._run.peer
        return None if peer is None else peer.hello.replica

    def open(
        self,
        request: Work,
        listener: EventListener,
        meter: RequestMeter | None = None,
        record: AnswerRecord | None = None,
    ) -> RequestStream:
        """Send it to a replica; `listener` gets the request's events. `close` it in any case."""
        stream = RequestStream(listener, meter, record)
        is_patient = record is not None and record.n_workers > 1
        self._run = self._table.open(request, self._destination, stream, is_patient=is_patient)
        self._wait(stream)
        return stream

    def close(self, request_id: str) -> None:  # noqa: ARG002 - it has one request
        """Cancel the request if it hasn't ended in the replica."""
        if self._patience is not None:
            self._patience.cancel()
        if self._run is not None:
            self._table.close(self._run, cancel=True)

    async def ended(self) -> None:
        """Return at once."""

    def _wait(self, stream: RequestStream) -> None:
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(self._load_wait_s, self._on_waited, stream)

    def _on_waited(self, stream: RequestStream) -> None:
        """End the wait for a place; a replica that has the request may still decline it."""
        if stream.started or stream.ended.done():
            return
        if self.replica is not None:
            self._wait(stream)
            return
        stream.refuse(
            StillLoading(
                f"no replica of {self._destination.deployment} has taken the request within"
                f" {self._load_wait_s:.0f} s; send it again later"
            )
        )
