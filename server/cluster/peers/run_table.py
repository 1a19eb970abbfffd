"""`RunTable`: the requests that an API process has in replicas, and who gets what is said of them.

A request's stay in one replica is a `Run`, with an id of its own: what a replica that was given up still says
has no run any more, and reaches nobody. It knows no sockets; `LinkListener` feeds it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from models.errors import WorkerBusy
from server.cluster.deployments import ReplicaLost
from server.cluster.link.link_messages import Answer, Beat, Begin, Declined, FromReplica, Refused
from server.cluster.link.refusals import error_of
from server.cluster.peers.peer import Peer, request_frame
from server.cluster.peers.roster import Roster
from server.engine.events import WORKER_DIED, Event, Failure
from server.ipc.messages import StepEvents, Work
from server.metrics.step import Step
from server.supervisor.process.request_stream import RequestStream

logger = logging.getLogger("corral.cluster")


@dataclass(frozen=True, slots=True)
class Destination:
    """The replicas that may have a request, and what they are to be told."""

    deployment: str
    name: str
    """The replica's own name for the model; empty: its main one."""
    prefix_key: str
    """Requests with the same one go to the same replica, as long as that isn't loaded more than others."""
    avoid: frozenset[str] = frozenset()
    """Replicas that get it only if there are no others: it has been there."""


class Run:
    """A request's stay in one replica. `peer` is the replica, None while it waits for a place in one."""

    __slots__ = ("destination", "frame", "id", "is_patient", "message", "peer", "request_id", "stream")

    def __init__(
        self, run_id: str, request: Work, destination: Destination, stream: RequestStream, *, is_patient: bool
    ) -> None:
        """`is_patient`: it has been in another replica, so one that is busy doesn't end it.

        Raises RequestError for a request that is too large.
        """
        self.id = run_id
        self.request_id = request.id
        self.destination = destination
        self.stream = stream
        self.is_patient = is_patient
        self.peer: Peer | None = None
        self.message = Begin(destination.name, msgspec.structs.replace(request, id=run_id))
        self.frame = request_frame(self.message)

    def send(self, peer: Peer) -> None:
        """Send it to a replica, which has it from now on."""
        frame, self.frame = self.frame or request_frame(self.message), b""
        self.peer = peer
        peer.runs[self.id] = self
        peer.write(frame)

    def cut(self, lost: ReplicaLost, *, goes_on: bool = True) -> bool:
        """The replica is gone; return True if the request can go on in another one, and is to.

        It is closed already.
        """
        stream = self.stream
        if stream.ended.done():
            return False
        if not stream.started:
            stream.refuse(lost)
            return True
        failure = _cut_off(self.request_id, lost, has_output=stream.has_output)
        return stream.cut(lost, failure, goes_on=goes_on)


class RunTable:
    """Belongs to the event loop in which it is used. `silent_ticks`: so many make a replica a lost one.

    `on_join` is called when a replica has come.
    """

    def __init__(self, silent_ticks: int, on_join: Callable[[], None] = lambda: None) -> None:
        self.roster = Roster()
        self._silent_ticks = silent_ticks
        self._on_join = on_join
        self._runs: dict[str, Run] = {}
        self._waiting: dict[str, deque[Run]] = {}
        """By deployment, the requests that wait for a place, those that have waited longest first."""
        self._idle: asyncio.Future[None] | None = None
        self._prefix = secrets.token_hex(8)
        """No two API processes have the same: a replica has the runs of all."""
        self._numbers = itertools.count(1)

    @property
    def n_running(self) -> int:
        """The number of requests that are in a replica, or wait for a place in one."""
        return len(self._runs)

    def n_waiting(self, deployment: str) -> int:
        """Return the number of requests that wait for a place in a deployment's replicas."""
        return len(self._waiting.get(deployment, ()))

    def runs_of(self, deployment: str) -> list[Run]:
        """Return the requests that are in a deployment's replicas, or wait for one."""
        return [run for run in self._runs.values() if run.destination.deployment == deployment]

    async def idle(self, timeout_s: float) -> None:
        """Return once there are no requests, or the time has passed."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while True:
            await asyncio.sleep(0)  # in its next turn a request whose replica has just gone is opened again
            if not self._runs or (left_s := deadline_s - loop.time()) <= 0:
                return
            self._idle = self._idle or loop.create_future()
            await asyncio.wait([self._idle], timeout=left_s)

    # --- requests ---

    def open(
        self, request: Work, destination: Destination, stream: RequestStream, *, is_patient: bool = False
    ) -> Run:
        """Send a request to a replica, now or when one has a place; `stream` gets its events.

        `close` it in any case. Raises RequestError for one that is too large.
        """
        run_id = f"{self._prefix}-{next(self._numbers)}"
        run = Run(run_id, request, destination, stream, is_patient=is_patient)
        self._runs[run.id] = run
        waiting = self._waiting.setdefault(destination.deployment, deque())
        if is_patient:
            waiting.appendleft(run)
        else:
            waiting.append(run)
        self._fill(destination.deployment)
        return run

    def close(self, run: Run, *, cancel: bool = False) -> None:
        """Drop what comes of a run from now on; with `cancel` the replica is told to stop it."""
        if self._runs.pop(run.id, None) is None:
            return
        if not self._runs and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None
        deployment = run.destination.deployment
        if run.peer is None:
            self._waiting[deployment].remove(run)
            return
        del run.peer.runs[run.id]
        if run.peer in self.roster:
            if cancel:
                run.peer.cancel(run.id)
            self._fill(deployment)

    def end_all(self, reason: str) -> None:
        """End every request with an error: this API process stops."""
        for run in sorted(self._runs.values(), key=lambda run: run.peer is not None):
            self.close(run, cancel=True)
            run.cut(ReplicaLost(reason), goes_on=False)

    # --- replicas ---

    def join(self, peer: Peer) -> None:
        """A replica has connected, and has told what it is."""
        deployment, replica = peer.hello.deployment, peer.hello.replica
        if (before := self.roster.named(deployment, replica)) is not None:
            self.leave(before, "it has connected again")
            before.abort()
        self.roster.add(peer)
        self._on_join()
        self._fill(deployment)

    def leave(self, peer: Peer, reason: str) -> None:
        """A replica's connection is closed: its requests go on elsewhere. Harmless when repeated."""
        if peer not in self.roster:
            return
        self.roster.remove(peer)
        lost = ReplicaLost(f"a replica of {peer.hello.deployment} has gone: {reason}")
        peer.leave(lost)
        runs, n_going_on = list(peer.runs.values()), 0
        for run in runs:
            self.close(run)
            n_going_on += run.cut(lost)
        if runs:
            logger.warning("%s; %d of its %d requests go on elsewhere", lost.message, n_going_on, len(runs))
        self._fill(peer.hello.deployment)

    def take(self, peer: Peer, message: FromReplica) -> None:
        """Hand on what a replica says, in the call that brings it; nothing here may wait or raise."""
        peer.n_silent = 0
        if isinstance(message, StepEvents):
            self._on_events(peer, message.events)
        elif isinstance(message, Beat):
            peer.on_beat(message)
            self.roster.tell_news()
            self._fill(peer.hello.deployment)
        elif isinstance(message, Answer):
            peer.on_answer(message)
        elif isinstance(message, Declined | Refused):
            run = peer.runs.get(message.id)
            if run is not None:
                self._on_refusal(peer, run, message)

    def tick(self) -> None:
        """Give up replicas that have said nothing for too many ticks; tell the others how many requests wait.

        Ticks are counted, not time: a process that was stopped itself hasn't heard anybody meanwhile.
        """
        for peer in self.roster:
            peer.n_silent += 1
            if peer.n_silent > self._silent_ticks:
                self.leave(peer, "it has been silent for too long")
                peer.abort()
        for peer in self.roster:
            deployment = peer.hello.deployment
            peer.tell_waiting(self.n_waiting(deployment) / len(self.roster.of(deployment)))

    # --- inside ---

    def _fill(self, deployment: str) -> None:
        """Send waiting requests to replicas, one after the other, as long as there are places."""
        waiting = self._waiting.get(deployment)
        while waiting:
            to = waiting[0].destination
            peer = self.roster.choose(deployment, to.prefix_key, to.avoid)
            if peer is None:
                return
            waiting.popleft().send(peer)

    def _on_refusal(self, peer: Peer, run: Run, message: Declined | Refused) -> None:
        if run.stream.ended.done():  # nobody waits for it any more
            self.close(run)
            return
        error = None if isinstance(message, Declined) else error_of(message.refusal)
        if not run.stream.started and (error is None or (isinstance(error, WorkerBusy) and run.is_patient)):
            del peer.runs[run.id]
            run.peer = None
            self._waiting[run.destination.deployment].appendleft(run)
            peer.on_declined()
            self._fill(run.destination.deployment)
            return
        self.close(run)
        if run.stream.started:
            run.cut(ReplicaLost(f"a replica has failed in a request: {error}"))
        elif error is not None:
            run.stream.refuse(error)

    def _on_events(self, peer: Peer, events: Sequence[Event]) -> None:
        runs, step = peer.runs, Step(time.monotonic(), peer.step)
        peer.step = step
        for event in events:
            run = runs.get(event.id)
            if run is None:  # it was given up, or cancelled before the replica learnt of it
                continue
            if run.stream.on_event(msgspec.structs.replace(event, id=run.request_id), step):
                if isinstance(event, Failure) and event.code == WORKER_DIED:
                    peer.on_worker_died()
                self.close(run)
        step.end()


def _cut_off(request_id: str, lost: ReplicaLost, *, has_output: bool) -> Failure:
    """Return the terminal event of a request that can't go on; one without output can be sent again."""
    if has_output:
        message = f"{lost.message}; it was in the middle of this answer: send the request again"
        return Failure(id=request_id, kind="server_error", message=message, code=WORKER_DIED)
    message = f"{lost.message}; it hadn't answered yet: send the request again"
    return Failure(id=request_id, kind="unavailable", message=message, code=WORKER_DIED, retry_after_s=1.0)
