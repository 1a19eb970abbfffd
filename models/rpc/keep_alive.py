"""`keep_alive`: has the kernel notice that the other machine of a connection is gone silently."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress

IDLE_S, INTERVAL_S, TRIES = 3, 2, 3
"""A connection that has been idle for so long is tried at this interval, and given up after so many tries."""
UNACKNOWLEDGED_S = 9
"""Data that isn't acknowledged for so long ends the connection."""

Peer = tuple[str, int]


def keep_alive(sock: socket.socket) -> None:
    """Set the options for a connected socket. A system may lack some of them."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": IDLE_S,
        "TCP_KEEPINTVL": INTERVAL_S,
        "TCP_KEEPCNT": TRIES,
        "TCP_USER_TIMEOUT": UNACKNOWLEDGED_S * 1000,
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
