"""`HttpServer`: uvicorn on sockets of several kinds, with TLS where it belongs, without signals."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from server.listening.tls import TlsFiles

HANDSHAKE_S = 20.0
"""A client has so long for a TLS handshake; a request's head has as long."""
GOODBYE_S = 2.0
"""A client that doesn't say goodbye, as TLS would have it, is waited for so long."""


class HttpServer(uvicorn.Server):
    """Serves sockets that are bound. With `tls` those of the network speak it, and unix sockets don't."""

    def __init__(self, config: uvicorn.Config, tls: TlsFiles | None = None) -> None:
        super().__init__(config)
        self._tls = tls

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals: uvicorn would end the process before the workers have ended."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers: list[asyncio.Server] = []
        loop, backlog = asyncio.get_running_loop(), self.config.backlog
        for each in sockets or ():
            if each.family == socket.AF_UNIX:
                server = await loop.create_unix_server(self._connection, sock=each, backlog=backlog)
            elif self._tls is None:
                server = await loop.create_server(self._connection, sock=each, backlog=backlog)
            else:
                server = await loop.create_server(
                    self._connection,
                    sock=each,
                    backlog=backlog,
                    ssl=self._tls.context,
                    ssl_handshake_timeout=HANDSHAKE_S,
                    ssl_shutdown_timeout=GOODBYE_S,
                )
            self.servers.append(server)
        self.started = True

    def _connection(self) -> asyncio.Protocol:
        # As uvicorn's own startup makes one; its protocol classes have no type for their arguments.
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
