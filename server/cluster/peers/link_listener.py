"""`LinkListener`: the API process's end of its replicas' sockets.

A replica that doesn't send the token, or sends what isn't a frame, is dropped.
"""

from __future__ import annotations

import asyncio
import secrets

from server.cluster.deployments import TOKEN_BYTES, LinkAddress
from server.cluster.link.link_messages import BEAT_S, FromReplica, Hello, decode_from_replica
from server.cluster.peers.peer import Peer
from server.cluster.peers.run_table import RunTable
from server.supervisor.process.connection import FrameConnection

HANDSHAKE_S = 5.0
"""The token and the replica's first frame have to come within so many seconds."""


class LinkListener:
    """Listens on a free port of one address, once it is started. What comes goes to `table`."""

    def __init__(self, table: RunTable) -> None:
        self._table = table
        self._server: asyncio.Server | None = None
        self._address: LinkAddress | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connections: set[_Inbound] = set()

    @property
    def address(self) -> LinkAddress:
        """The address for replicas. Only once it is started."""
        assert self._address is not None
        return self._address

    async def start(self, host: str) -> None:
        """Listen. Raises OSError if the address can't be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, host, 0)
        port = self._server.sockets[0].getsockname()[1]
        self._address = LinkAddress(host, port, secrets.token_bytes(2 * TOKEN_BYTES))
        self._timer = loop.call_later(BEAT_S, self._tick)

    async def stop(self) -> None:
        """Close every connection: the replicas cancel what still runs."""
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
        if self._server is not None:
            await self._server.wait_closed()

    def _connect(self) -> _Inbound:
        return _Inbound(self._table, self.address, self._connections)

    def _tick(self) -> None:
        self._table.tick()
        self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._tick)


class _Inbound(FrameConnection[FromReplica]):
    """One connection: until the token has come, nothing is read."""

    def __init__(self, table: RunTable, address: LinkAddress, others: set[_Inbound]) -> None:
        super().__init__(self._take, decode_from_replica)
        self._table = table
        self._address = address
        self._others = others
        self._begun: bytes | None = b""
        """The bytes of a token that hasn't come wholly; None once it has."""
        self._peer: Peer | None = None
        self._patience = asyncio.get_running_loop().call_later(HANDSHAKE_S, self.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._others.add(self)

    def data_received(self, data: bytes) -> None:
        if self._begun is not None:
            begun = self._begun + data
            self._begun = begun[:TOKEN_BYTES]
            if len(begun) < TOKEN_BYTES:
                return
            if not secrets.compare_digest(self._begun, self._address.token):
                self.abort()
                return
            self._begun = None
            self.write(self._address.proof)
            data = begun[TOKEN_BYTES:]
        if data:
            super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._patience.cancel()
        self._others.discard(self)
        broken = self.closed.result()
        reason = broken.message if broken is not None else str(error) if error else "it closed its connection"
        if self._peer is not None:
            self._table.leave(self._peer, reason)

    def _take(self, message: FromReplica) -> None:
        if self._peer is not None:
            self._table.take(self._peer, message)
        elif isinstance(message, Hello) and self.open:
            self._patience.cancel()
            self._peer = Peer(message, self._send, self.abort)
            self._table.join(self._peer)
        else:
            self.abort()

    def _send(self, frame: bytes) -> None:
        if self.open:
            self.write(frame)
