"""`ReplyLink`: a replica's socket to one API process, over which the events of its requests go."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable

from models.errors import WorkerDied
from server.cluster.handles import ReplyTo
from server.cluster.link_messages import (
    BEAT_S,
    Acceptance,
    Beat,
    FromReplica,
    ToReplica,
    decode_to_replica,
    link_frame,
)
from server.engine.events import Event
from server.ipc.frames import MAX_FRAME_BYTES, FrameError
from server.ipc.messages import Cancel, Slots, Stats, StepEvents
from server.supervisor.process.connection import FrameConnection

logger = logging.getLogger("corral.cluster")

CONNECT_S = 5.0
UNSENT_BYTES = 4 * MAX_FRAME_BYTES
"""An API process that leaves more than this unread is given up."""
UNHEARD_MS = 10_000
"""One that doesn't confirm for so long what was sent to it is gone."""

_BEAT = link_frame(Beat())

OnQuestion = Callable[["ReplyLink", Stats | Slots], None]


class ReplyLink(FrameConnection[ToReplica]):
    """Sends the events that come in one turn of the event loop as one frame, right after it.

    When the connection ends, whatever runs for that API process is cancelled.
    """

    def __init__(self, on_question: OnQuestion) -> None:
        super().__init__(self._take, decode_to_replica)
        self._on_question = on_question
        self._cancels: dict[str, Callable[[], object]] = {}
        self._events: list[Event] = []
        self._beat: asyncio.TimerHandle | None = None

    def begin(self, run_id: str, cancel: Callable[[], object]) -> None:
        """Tell that a request is here; `cancel` is called once nobody wants it. `end` it in any case."""
        if not self.open:
            cancel()
            return
        self._cancels[run_id] = cancel
        self.send(Acceptance(run_id))
        if self._beat is None:
            self._beat = asyncio.get_running_loop().call_later(BEAT_S, self._on_beat)

    def end(self, run_id: str) -> None:
        """Forget a request that has ended."""
        self._cancels.pop(run_id, None)

    def on_event(self, event: Event) -> None:
        """Send an event, with all that this turn still brings."""
        if not self._events:
            asyncio.get_running_loop().call_soon(self._flush)
        self._events.append(event)

    async def drained(self) -> None:
        """Return at once: `UNSENT_BYTES` bounds what waits."""

    def send(self, message: FromReplica) -> None:
        """Send a message; after the connection's end nobody wants it."""
        if self.open:
            self.write(link_frame(message))

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._beat is not None:
            self._beat.cancel()
        cancels, self._cancels = self._cancels, {}
        if cancels:
            logger.warning("an API process has gone; its %d requests are cancelled", len(cancels))
        for cancel in cancels.values():
            cancel()

    def _take(self, message: ToReplica) -> None:
        if not isinstance(message, Cancel):
            self._on_question(self, message)
        elif (cancel := self._cancels.get(message.id)) is not None:
            cancel()

    def _flush(self) -> None:
        events, self._events = self._events, []
        self._send_events(events)

    def _send_events(self, events: list[Event]) -> None:
        try:
            self.send(StepEvents(events))
        except FrameError:
            if len(events) == 1:
                raise
            self._send_events(events[: len(events) // 2])
            self._send_events(events[len(events) // 2 :])

    def _on_beat(self) -> None:
        self._beat = None
        if not self._cancels or not self.open:
            return
        if self.n_unsent_bytes > UNSENT_BYTES:
            logger.error("an API process doesn't read what is sent to it; it is given up")
            self.abort()
            return
        self.write(_BEAT)
        self._beat = asyncio.get_running_loop().call_later(BEAT_S, self._on_beat)


class ReplyLinks:
    """One `ReplyLink` for each API process that has requests here."""

    def __init__(self, on_question: OnQuestion) -> None:
        self._on_question = on_question
        self._links: dict[ReplyTo, asyncio.Task[ReplyLink]] = {}

    async def to(self, reply_to: ReplyTo) -> ReplyLink:
        """Return the connection to an API process, made now if there is none.

        Raises WorkerDied if it can't be reached from here: maybe from another machine.
        """
        task = self._links.get(reply_to)
        if task is None or (_has_link(task) and not task.result().open):
            task = self._links[reply_to] = asyncio.create_task(self._connect(reply_to))
            task.add_done_callback(_has_link)
        try:
            return await asyncio.shield(task)
        except (OSError, TimeoutError) as error:
            raise WorkerDied(
                f"a replica can't reach the API process at {reply_to.host}:{reply_to.port}"
                f" ({type(error).__name__}: {error}); start that with an address that all machines reach"
            ) from error

    def close(self) -> None:
        """Close all connections."""
        for task in self._links.values():
            if _has_link(task):
                task.result().close()
            else:
                task.cancel()

    async def _connect(self, reply_to: ReplyTo) -> ReplyLink:
        loop, link = asyncio.get_running_loop(), ReplyLink(self._on_question)
        connecting = loop.create_connection(lambda: link, reply_to.host, reply_to.port)
        try:
            transport, _ = await asyncio.wait_for(connecting, CONNECT_S)
        except BaseException:
            self._forget(reply_to)
            raise
        _notice_silence(transport.get_extra_info("socket").fileno())
        link.write(reply_to.token)
        link.closed.add_done_callback(lambda _: self._forget(reply_to, link))
        return link

    def _forget(self, reply_to: ReplyTo, link: ReplyLink | None = None) -> None:
        """Drop a connection that has ended (None: that wasn't made), unless there is a newer one."""
        task = self._links.get(reply_to)
        if task is not None and (link is None or (_has_link(task) and task.result() is link)):
            del self._links[reply_to]


def _has_link(task: asyncio.Task[ReplyLink]) -> bool:
    """Return True once a connection is made; the error of one that failed was told to those who wanted it."""
    return task.done() and not task.cancelled() and task.exception() is None


def _notice_silence(fd: int) -> None:
    """Have the system end a connection whose other machine has gone without a word."""
    with socket.socket(fileno=os.dup(fd)) as same:  # the event loop's own object may not set options
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            same.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)
