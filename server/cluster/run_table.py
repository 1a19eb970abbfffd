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
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from server.cluster.handles import ReplicaLost
from server.cluster.link_messages import Acceptance, FromReplica, ToReplica
from server.engine.events import WORKER_DIED, Event, Failure
from server.ipc.frames import FrameError
from server.ipc.messages import Cancel, Slots, SlotsReply, Stats, StatsReply, StepEvents
from server.metrics.step import Step
from server.supervisor.process.failures import error_of
from server.supervisor.process.request_stream import RequestStream

logger = logging.getLogger("corral.cluster")

R = TypeVar("R", StatsReply, SlotsReply)


class Run:
    """A request's stay in one replica, from the call on. `peer` is the replica, once it has told of it."""

    __slots__ = ("deployment", "id", "is_over", "peer", "request_id", "stream")

    def __init__(self, run_id: str, request_id: str, deployment: str, stream: RequestStream) -> None:
        self.id = run_id
        self.request_id = request_id
        self.deployment = deployment
        self.stream = stream
        self.peer: Peer | None = None
        self.is_over = False
        """True once its terminal event has come."""

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


class Peer:
    """One replica, as its connection shows it. `send` and `abort` are the connection's."""

    def __init__(self, send: Callable[[ToReplica], None], abort: Callable[[], None]) -> None:
        self.send = send
        self.abort = abort
        self.runs: dict[str, Run] = {}
        self.deployment: str | None = None
        """The deployment that it is one of, known with its first run."""
        self.n_silent = 0
        """The ticks since it has last said anything."""
        self.step = Step(0.0)
        self.latest_stats: StatsReply | None = None
        self._questions: dict[str, asyncio.Future[StatsReply | SlotsReply]] = {}
        self._ids = itertools.count(1)

    async def ask(self, question: type[Stats | Slots], reply_type: type[R]) -> R:
        """Return the replica's answer. Raises ReplicaLost if it goes, and its refusal."""
        call_id = str(next(self._ids))
        future = self._questions[call_id] = asyncio.get_running_loop().create_future()
        try:
            self.send(question(id=call_id))
            reply = await future
        finally:
            del self._questions[call_id]
        if not isinstance(reply, reply_type):
            raise FrameError(f"a replica answered {question.__name__} with {type(reply).__name__}")
        return reply

    def on_answer(self, answer: StatsReply | SlotsReply | Failure) -> None:
        """Hand an answer to whoever has asked."""
        if isinstance(answer, StatsReply):
            self.latest_stats = answer
        future = self._questions.get(answer.id)
        if future is None or future.done():
            return
        if isinstance(answer, Failure):
            future.set_exception(error_of(answer))
        else:
            future.set_result(answer)

    def leave(self, error: ReplicaLost) -> None:
        """Tell those who have asked that no answer comes."""
        for future in self._questions.values():
            if not future.done():
                future.set_exception(error)


class RunTable:
    """Belongs to the event loop in which it is used. `silent_ticks`: so many make a replica a lost one."""

    def __init__(self, silent_ticks: int) -> None:
        self.peers: set[Peer] = set()
        self._silent_ticks = silent_ticks
        self._runs: dict[str, Run] = {}
        self._prefix = secrets.token_hex(8)
        """No two API processes have the same: a replica has the runs of all."""
        self._numbers = itertools.count(1)

    @property
    def n_running(self) -> int:
        """The number of requests that are in a replica, or on the way to one."""
        return len(self._runs)

    def runs_of(self, deployment: str) -> list[Run]:
        """Return the requests that are in a deployment's replicas, or on the way there."""
        return [run for run in self._runs.values() if run.deployment == deployment]

    # --- requests ---

    def open(self, request_id: str, deployment: str, stream: RequestStream) -> Run:
        """Return a run, whose events go to `stream` from now on; `close` it in any case."""
        run = Run(f"{self._prefix}-{next(self._numbers)}", request_id, deployment, stream)
        self._runs[run.id] = run
        return run

    def close(self, run: Run, *, cancel: bool = False) -> None:
        """Drop what comes of a run from now on; with `cancel` the replica is told to stop it."""
        if self._runs.pop(run.id, None) is None:
            return
        if run.peer is not None:
            run.peer.runs.pop(run.id, None)
            if cancel and run.peer in self.peers:
                run.peer.send(Cancel(id=run.id))

    def end_all(self, reason: str) -> None:
        """End every request with an error: this API process stops."""
        for run in list(self._runs.values()):
            self.close(run, cancel=True)
            run.cut(ReplicaLost(reason), goes_on=False)

    # --- replicas ---

    def join(self, peer: Peer) -> None:
        """A replica has connected."""
        self.peers.add(peer)

    def leave(self, peer: Peer, reason: str) -> None:
        """A replica's connection is closed: its requests go on elsewhere. Harmless when repeated."""
        if peer not in self.peers:
            return
        self.peers.remove(peer)
        lost = ReplicaLost(f"a replica of {peer.deployment} has gone: {reason}")
        peer.leave(lost)
        runs, peer.runs = list(peer.runs.values()), {}
        n_going_on = 0
        for run in runs:
            self._runs.pop(run.id, None)
            n_going_on += run.cut(lost)
        if runs:
            logger.warning("%s; %d of its %d requests go on elsewhere", lost.message, n_going_on, len(runs))

    def take(self, peer: Peer, message: FromReplica) -> None:
        """Hand on what a replica says, in the call that brings it; nothing here may wait or raise."""
        peer.n_silent = 0
        if isinstance(message, StepEvents):
            self._on_events(peer, message.events)
        elif isinstance(message, Acceptance):
            self._on_taken(peer, message.id)
        elif isinstance(message, StatsReply | SlotsReply | Failure):
            peer.on_answer(message)

    def tick(self) -> None:
        """Give up replicas that have said nothing for too many ticks though requests run in them.

        Ticks are counted, not time: a process that was stopped itself hasn't heard anybody meanwhile.
        """
        for peer in list(self.peers):
            peer.n_silent = peer.n_silent + 1 if peer.runs else 0
            if peer.n_silent > self._silent_ticks:
                self.leave(peer, "it has been silent for too long")
                peer.abort()

    def _on_taken(self, peer: Peer, run_id: str) -> None:
        run = self._runs.get(run_id)
        if run is None or run.peer is not None:  # the client has gone meanwhile, or the call was made twice
            peer.send(Cancel(id=run_id))
            return
        run.peer = peer
        peer.runs[run_id] = run
        peer.deployment = run.deployment

    def _on_events(self, peer: Peer, events: Sequence[Event]) -> None:
        runs, step = peer.runs, Step(time.monotonic(), peer.step)
        peer.step = step
        for event in events:
            run = runs.get(event.id)
            if run is None:  # it was given up, or cancelled before the replica learnt of it
                continue
            if run.stream.on_event(msgspec.structs.replace(event, id=run.request_id), step):
                run.is_over = True
                self.close(run)
        step.end()


def _cut_off(request_id: str, lost: ReplicaLost, *, has_output: bool) -> Failure:
    """Return the terminal event of a request that can't go on; one without output can be sent again."""
    if has_output:
        message = f"{lost.message}; it was in the middle of this answer: send the request again"
        return Failure(id=request_id, kind="server_error", message=message, code=WORKER_DIED)
    message = f"{lost.message}; it hadn't answered yet: send the request again"
    return Failure(id=request_id, kind="unavailable", message=message, code=WORKER_DIED, retry_after_s=1.0)
