"""`ServiceManager`: the sockets that systemd hands over, and what it wants to hear.

It, or another manager of its protocol, may open the sockets (sd_listen_fds), is told when the server is
ready, reloads and stops (sd_notify), and may restart one that falls silent (`WatchdogSec=`). Without one
nothing here does anything.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import MutableMapping

from models.errors import ConfigError

logger = logging.getLogger("corral.serve")

FIRST_FD = 3
"""Sockets that are handed over have descriptors from this one on."""
_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager:
    """One manager, as the environment at the start describes it. Child processes hear nothing of it."""

    def __init__(
        self,
        sockets: list[socket.socket],
        address: str | None = None,
        watchdog_s: float | None = None,
    ) -> None:
        self.sockets = sockets
        """The sockets that it has opened; they are listened at."""
        self._address = address
        self.watchdog_s = watchdog_s
        """It wants a sign of life at least this often; None: it doesn't."""

    @classmethod
    def from_environment(
        cls, env: MutableMapping[str, str] = os.environ, first_fd: int = FIRST_FD
    ) -> ServiceManager:
        """Return the manager of this process, and take its variables out of `env`.

        Raises ConfigError for sockets that a server can't use.
        """
        given = {name: env.pop(name, "").strip() for name in _VARIABLES}
        own = str(os.getpid())
        sockets = []
        if given["LISTEN_PID"] == own and given["LISTEN_FDS"]:
            sockets = _inherited(_number(given["LISTEN_FDS"], "LISTEN_FDS"), first_fd)
        watchdog_s = None
        if given["WATCHDOG_USEC"] and given["WATCHDOG_PID"] in ("", own):
            watchdog_s = _number(given["WATCHDOG_USEC"], "WATCHDOG_USEC") / 1e6 or None
        return cls(sockets, given["NOTIFY_SOCKET"] or None, watchdog_s)

    @property
    def listens(self) -> bool:
        """True if it wants to hear what the server does."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """Say that requests are answered, after the start or a reload."""
        self._say("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Say that settings are being read anew; `ready` ends it."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Say that the server ends."""
        self._say("STOPPING=1", f"STATUS={status}")

    async def show_life(self) -> None:
        """Give signs of life from the event loop, until it is cancelled."""
        while self.watchdog_s is not None:
            self._say("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 3)

    def _say(self, *lines: str) -> None:
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            try:
                channel.setblocking(False)
                channel.sendto("\n".join(lines).encode(), address)
            except OSError as error:
                logger.warning("the service manager at %s doesn't hear us: %s", self._address, error)


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{name}={text} in the environment is no number; the service manager sets it")
    return int(text)


def _inherited(n_sockets: int, first_fd: int) -> list[socket.socket]:
    found: list[socket.socket] = []
    for fd in range(first_fd, first_fd + n_sockets):
        try:
            given = socket.socket(fileno=fd)
        except OSError as error:
            raise ConfigError(
                f"the service manager's descriptor {fd} is no socket: {error.strerror}"
            ) from error
        given.set_inheritable(False)
        is_stream = given.type == socket.SOCK_STREAM
        if not is_stream or not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            given.close()
            raise ConfigError(
                f"the service manager's socket {fd} takes no connections; use ListenStream=, without"
                " Accept=yes"
            )
        found.append(given)
    return found
