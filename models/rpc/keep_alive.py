"""`keep_alive`: has the kernel notice that the other machine of a connection is gone silently."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress

IDLE_S, INTERVAL_S = 3, 2
"""A connection that has been idle for so long is tried, then at this interval."""
SERVER_S = 9
"""A server gives a client up that is gone for so long: others wait for their turn."""
CLIENT_S = 60
"""A client gives a server up that is gone, or takes nothing, for so long: one that clears or writes down what
it got may be slow. Within a step the engine's own patience is shorter."""

Peer = tuple[str, int]


def keep_alive(sock: socket.socket, limit_s: int) -> None:
    """End a connection once its other end has acknowledged nothing for `limit_s` seconds."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": IDLE_S,
        "TCP_KEEPINTVL": INTERVAL_S,
        "TCP_KEEPCNT": max(1, (limit_s - IDLE_S) // INTERVAL_S),
        "TCP_USER_TIMEOUT": limit_s * 1000,
    }
    for name, value in options.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def connections() -> Iterator[tuple[socket.socket, Peer, Peer]]:
    """Yield this process's IPv4 connections: a socket for the time of the step, its address and the peer's.

    The socket is a duplicate: options that are set on it are those of the connection.
    """
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers, no paths
        sock = None
        with suppress(OSError):  # not connected, or closed meanwhile
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            sock = socket.fromfd(int(name), socket.AF_INET, socket.SOCK_STREAM)
            family = sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
            kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
            if (family, kind) == (socket.AF_INET, socket.SOCK_STREAM):
                yield sock, sock.getsockname(), sock.getpeername()
        if sock is not None:
            sock.close()
