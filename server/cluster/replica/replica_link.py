"""`ReplicaLink`: a replica's socket to one API process: requests come over it, and their events go."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Any, Protocol

from server.cluster.deployments import TOKEN_BYTES, LinkAddress
from server.cluster.link.link_messages import (
    BEAT_S,
    Ask,
    Beat,
    Begin,
    FromReplica,
    Hello,
    ToReplica,
    Waiting,
    decode_to_replica,
    link_frame,
)
from server.engine.events import Event
from server.ipc.frames import HEADER, MAX_FRAME_BYTES, FrameError
from server.ipc.messages import Cancel, StepEvents
from server.supervisor.process.connection import FrameConnection

logger = logging.getLogger("corral.cluster")

CONNECT_S = 5.0
RETRY_S = 1.0
LONGEST_RETRY_S = 8.0
UNSENT_BYTES = 4 * MAX_FRAME_BYTES
"""An API process that leaves more than this unread is given up."""
UNHEARD_MS = 10_000
"""One that doesn't confirm for so long what was sent to it is gone."""


class LinkUser(Protocol):
    """The replica behind its links."""

    def hello(self) -> Hello:
        """Return its facts."""

    def beat(self) -> Beat:
        """Return how it does now."""

    def take(self, link: ReplicaLink, message: Begin | Ask) -> None:
        """Begin what an API process asks for, in the call that brings it."""


class ReplicaLink(FrameConnection[ToReplica]):
    """A `FrameListener`. Single events of one turn of the event loop go as one frame, right after it.

    When the connection ends, whatever runs for that API process is cancelled. `met` is done once the API
    process has shown that it is the one.
    """

    def __init__(self, user: LinkUser, address: LinkAddress) -> None:
        super().__init__(self._take, decode_to_replica)
        self.met: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.n_waiting = 0.0
        """The API process's requests that wait for a place, as far as they are this replica's share."""
        self._user = user
        self._address = address
        self._proof: bytes | None = b""
        """The bytes of a proof that hasn't come wholly; None once it has."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """Tasks of the requests that run for this API process, by the runs' ids."""
        self._events: list[Event] = []
        self._beat: asyncio.TimerHandle | None = None

    def begin(self, run_id: str, task: asyncio.Task[None]) -> None:
        """Tell that a request is here; its task is cancelled once nobody wants it."""
        self._tasks[run_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(run_id, None))

    def on_event(self, event: Event) -> None:
        """Send an event, with all that this turn still brings."""
        if not self._events:
            asyncio.get_running_loop().call_soon(self._flush)
        self._events.append(event)

    def on_frame(self, payload: bytes) -> None:
        """Send events that are encoded already: a worker's steps and a link's are the same."""
        self._flush()
        if self.open:
            self.write(HEADER.pack(len(payload)) + payload)

    async def drained(self) -> None:
        """Return at once: `UNSENT_BYTES` bounds what waits."""

    def send(self, message: FromReplica) -> None:
        """Send a message behind all events so far; after the connection's end nobody wants it."""
        self._flush()
        if self.open and self._proof is None:
            self.write(link_frame(message))

    def send_beat(self) -> None:
        """Tell how the replica does, at once, and a second later again."""
        if self._beat is not None:
            self._beat.cancel()
        if not self.open or self._proof is not None:
            return
        if self.n_unsent_bytes > UNSENT_BYTES:
            logger.error("an API process doesn't read what is sent to it; it is given up")
            self.abort()
            return
        self.send(self._user.beat())
        self._beat = asyncio.get_running_loop().call_later(BEAT_S, self.send_beat)

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        _notice_silence(transport.get_extra_info("socket").fileno())
        self.write(self._address.token)

    def data_received(self, data: bytes) -> None:
        if self._proof is not None:
            proof = self._proof + data
            self._proof = proof[:TOKEN_BYTES]
            if len(proof) < TOKEN_BYTES:
                return
            if not secrets.compare_digest(self._proof, self._address.proof):
                self.abort()
                return
            self._proof = None
            self.send(self._user.hello())
            self.send_beat()
            self.met.set_result(None)
            data = proof[TOKEN_BYTES:]
        if data:
            super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._beat is not None:
            self._beat.cancel()
        if self._tasks:
            logger.warning("an API process has gone; its %d requests are cancelled", len(self._tasks))
        for task in self._tasks.values():
            task.cancel()

    # --- inside ---

    def _take(self, message: ToReplica) -> None:
        if isinstance(message, Waiting):
            self.n_waiting = message.n
        elif not isinstance(message, Cancel):
            self._user.take(self, message)
        elif (task := self._tasks.get(message.id)) is not None:
            task.cancel()

    def _flush(self) -> None:
        events, self._events = self._events, []
        if events and self.open:
            self._send_events(events)

    def _send_events(self, events: list[Event]) -> None:
        try:
            self.write(link_frame(StepEvents(events)))
        except FrameError:
            if len(events) == 1:
                raise
            self._send_events(events[: len(events) // 2])
            self._send_events(events[len(events) // 2 :])


class ReplicaLinks:
    """One `ReplicaLink` for each API process, made again when it ends."""

    def __init__(self, user: LinkUser) -> None:
        self._user = user
        self._wanted: frozenset[LinkAddress] = frozenset()
        self._tasks: dict[LinkAddress, asyncio.Task[None]] = {}
        self._links: dict[LinkAddress, ReplicaLink] = {}
        self._news: asyncio.Future[None] | None = None

    def keep(self, addresses: Sequence[LinkAddress]) -> None:
        """Keep a link to each of these from now on; one to any other stays until it ends."""
        self._wanted = frozenset(addresses)
        for address in self._wanted - self._tasks.keys():
            task = self._tasks[address] = asyncio.create_task(self._stay(address))
            task.add_done_callback(lambda _, address=address: self._tasks.pop(address, None))  # type: ignore[misc]

    async def met(self, timeout_s: float) -> None:
        """Return once each of them has a link, or the time has passed."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while not self.are_met and (left_s := deadline_s - loop.time()) > 0:
            self._news = self._news or loop.create_future()
            await asyncio.wait([self._news], timeout=left_s)

    @property
    def are_met(self) -> bool:
        """True while each of them has a link."""
        return self._wanted <= self._links.keys()

    @property
    def n_waiting(self) -> float:
        """The requests that wait in API processes, as far as they are this replica's share."""
        return sum(link.n_waiting for link in self._links.values())

    def send_beat(self) -> None:
        """Tell all API processes how the replica does."""
        for link in self._links.values():
            link.send_beat()

    def close(self) -> None:
        """Close all links, for good."""
        self._wanted = frozenset()
        for link in self._links.values():
            link.close()
        for task in self._tasks.values():
            task.cancel()

    async def _stay(self, address: LinkAddress) -> None:
        """Keep one link until nobody wants it any more."""
        delay_s, is_told = RETRY_S, False
        while address in self._wanted:
            link = ReplicaLink(self._user, address)
            try:
                await asyncio.wait_for(self._connect(link, address), CONNECT_S)
                self._links[address] = link
                self._tell_news()
                delay_s, is_told = RETRY_S, False
                await asyncio.wait([link.closed])
            except (OSError, TimeoutError) as error:
                if not is_told:
                    logger.warning(
                        "the API process at %s:%d can't be reached (%s: %s); if it lives, start it with an"
                        " address that all machines reach",
                        address.host,
                        address.port,
                        type(error).__name__,
                        error,
                    )
                is_told, delay_s = True, min(2 * delay_s, LONGEST_RETRY_S)
            finally:
                self._links.pop(address, None)
                link.close()
            await asyncio.sleep(delay_s)

    def _tell_news(self) -> None:
        """Wake those who wait for a link."""
        if self._news is not None:
            self._news.set_result(None)
            self._news = None

    async def _connect(self, link: ReplicaLink, address: LinkAddress) -> None:
        """Connect, and wait until both ends know each other. Raises OSError."""
        await asyncio.get_running_loop().create_connection(lambda: link, address.host, address.port)
        either: list[asyncio.Future[Any]] = [link.met, link.closed]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not link.met.done():
            raise ConnectionError("it isn't the one that was announced")


def _notice_silence(fd: int) -> None:
    """Have the system end a connection whose other machine has gone without a word."""
    with socket.socket(fileno=os.dup(fd)) as same:  # the event loop's own object may not set options
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            same.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)
