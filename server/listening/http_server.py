"""`HttpServer`: uvicorn on sockets of several kinds, with TLS where it belongs, without signals."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from server.http.connection import HttpConnection
from server.listening.tls import TlsFiles
from server.listening.tls_door import TlsDoor

MOST_HANDSHAKES = 512
"""So many clients may be at their TLS handshakes, where nothing else is said."""
FIRST_WORDS_S = 0.25
"""A connection that was taken right before the end has so many seconds to say what it wants."""
TAKING_S = 0.1
"""A request that has come by then has so many seconds more to reach its model."""
_CLOSE = (b"connection", b"close")


class HttpServer(uvicorn.Server):
    """Serves sockets that are bound. With `tls` those of the network speak it, and unix sockets don't."""

    def __init__(
        self,
        config: uvicorn.Config,
        tls: TlsFiles | None = None,
        n_handshakes: int = MOST_HANDSHAKES,
    ) -> None:
        """`n_handshakes`: so many clients may be at the handshake of TLS at the same time."""
        super().__init__(config)
        self._tls = tls
        self._n_handshakes = n_handshakes
        self._door: TlsDoor | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals: uvicorn would end the process before the workers have ended."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers: list[asyncio.Server] = []
        loop, backlog = asyncio.get_running_loop(), self.config.backlog
        if self._tls is not None:
            self._door = TlsDoor(self._tls.context, self._connection, self._n_handshakes)
        for each in sockets or ():
            if each.family == socket.AF_UNIX:
                server = await loop.create_unix_server(self._connection, sock=each, backlog=backlog)
            elif self._door is not None:
                self._door.listen(each, backlog)
                continue
            else:
                server = await loop.create_server(self._connection, sock=each, backlog=backlog)
            self.servers.append(server)
        self.started = True

    def close_after_answers(self) -> None:
        """Let each connection end with its next answer, so that clients who keep theirs go elsewhere."""
        # uvicorn makes each second anew what all answers have of these.
        self.config.encoded_headers = [*self.config.encoded_headers, _CLOSE]
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    async def stop_accepting(self) -> None:
        """Take no further connection; return when those that were taken have asked what they came to ask.

        A socket that a service manager holds keeps the others for the next server.
        """
        loop = asyncio.get_running_loop()
        for each in self.servers:
            each.close()
        if self._door is not None:
            self._door.stop_listening()
        end_s = loop.time() + FIRST_WORDS_S
        while self._has_silent_clients() and loop.time() < end_s:  # noqa: ASYNC110 — connections tell nobody
            await asyncio.sleep(0.005)
        if any(each.is_answering for each in self._connections()):
            await asyncio.sleep(TAKING_S)

    def _has_silent_clients(self) -> bool:
        """Return True if a client has not sent the head of a request yet, or is at its handshake."""
        is_shaking = self._door is not None and self._door.is_busy
        return is_shaking or any(each.is_new for each in self._connections())

    def _connections(self) -> Iterator[HttpConnection]:
        return (each for each in self.server_state.connections if isinstance(each, HttpConnection))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._door is not None:
            self._door.close()
        await super().shutdown(sockets)

    def _connection(self) -> asyncio.Protocol:
        # As uvicorn's own startup makes one; its protocol classes have no type for their arguments.
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
