"""`TlsDoor`: accepts the network's connections, and lets in those that finish a TLS handshake.

uvicorn counts connections from the end of their handshakes on. So those that are still at it are counted
here, and beyond a limit the one that has been at it longest goes: else clients that connect and say nothing
could take all the files that this process may open, and keep everybody else out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger("corral.http")

HANDSHAKE_S = 20.0
"""A client has so long for a TLS handshake; a request's head has as long."""
GOODBYE_S = 2.0
"""A client that doesn't say goodbye, as TLS would have it, is waited for so long."""
HANDSHAKE_SHARE = 8
"""One of so many connections that there may be is for handshakes."""
PAUSE_S = 1.0
"""After a connection that couldn't be accepted, for want of files or memory, none is for so many seconds."""


def handshake_limit(n_connections: int) -> int:
    """Return how many of so many connections may be at their handshakes: at least 1."""
    return max(1, n_connections // HANDSHAKE_SHARE)


class TlsDoor:
    """Listens on sockets until `close`. It belongs to the event loop in which it is made."""

    def __init__(
        self, context: ssl.SSLContext, connect: Callable[[], asyncio.Protocol], n_handshakes: int
    ) -> None:
        """`connect` makes the protocol of a new connection, which begins after the handshake."""
        self._context = context
        self._connect = connect
        self._n_handshakes = n_handshakes
        self._loop = asyncio.get_running_loop()
        self._listening: list[socket.socket] = []
        self._shaking: dict[asyncio.Task[None], socket.socket] = {}
        """The handshakes that count, the oldest first."""
        self._ending: set[asyncio.Task[None]] = set()
        """Those that were told to end, and will in a moment."""

    def listen(self, listening: socket.socket, backlog: int) -> None:
        """Accept the connections of a bound socket, which is closed with the door."""
        listening.listen(backlog)
        listening.setblocking(False)
        self._listening.append(listening)
        self._loop.add_reader(listening, self._accept, listening)

    @property
    def is_busy(self) -> bool:
        """True while a client is at its handshake."""
        return bool(self._shaking)

    def stop_listening(self) -> None:
        """Accept no further connection; handshakes go on."""
        listening, self._listening = self._listening, []
        for each in listening:
            self._loop.remove_reader(each)
            each.close()

    def close(self) -> None:
        """Listen no more, and end the handshakes; connections that are through go on."""
        self.stop_listening()
        for task in list(self._shaking):
            self._end(task)

    # --- inside ---

    def _accept(self, listening: socket.socket) -> None:
        """Accept one connection: others have their turn between two."""
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return  # the client has gone again
        except OSError as error:
            logger.warning("no connection is accepted for %g s: %s", PAUSE_S, error.strerror or error)
            self._loop.remove_reader(listening)
            self._loop.call_later(PAUSE_S, self._resume, listening)
            return
        connection.setblocking(False)
        if len(self._shaking) >= self._n_handshakes:
            logger.debug("over %d TLS handshakes at a time: the oldest ends", self._n_handshakes)
            self._end(next(iter(self._shaking)))
        task = self._loop.create_task(self._shake_hands(connection))
        self._shaking[task] = connection
        task.add_done_callback(self._forget)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._listening:
            self._loop.add_reader(listening, self._accept, listening)

    async def _shake_hands(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._connect,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except OSError as error:  # what ssl raises is one, too
            logger.debug("a TLS handshake failed: %s", error)

    def _end(self, task: asyncio.Task[None]) -> None:
        """Let a handshake find that its client has gone, whatever it is at."""
        connection = self._shaking.pop(task)
        self._ending.add(task)
        with suppress(OSError):  # the client has really gone
            connection.shutdown(socket.SHUT_RDWR)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._shaking.pop(task, None)
        self._ending.discard(task)
