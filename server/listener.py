"""`Listener`: the bound sockets of one port, on every address that a host's name stands for."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Self

from models.closing import Closing
from models.errors import ConfigError, CorralError
from server.listening.tls import TlsFiles

_NOT_ON_THIS_MACHINE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})
_TRIES = 20
"""A free port is looked for this many times where several addresses are to have the same."""

Address = tuple[int, tuple[Any, ...]]
"""An `Address` is a family and its socket address."""


class Listener(Closing):
    """Sockets that are bound, all to the same port; a context manager that closes them."""

    def __init__(self, sockets: Sequence[socket.socket], tls: TlsFiles | None = None) -> None:
        self.sockets = list(sockets)
        self.host: str | None = None
        """The name that its addresses were found by; None: others have bound them."""
        self.tls = tls
        """The certificate that clients of the network are shown; None: they speak plain HTTP."""

    @classmethod
    def bind(cls, host: str, port: int) -> Self:
        """Bind `port` on every address of `host`, which may name several hosts. Port 0 is a free one.

        `localhost`, and each name below it, is 127.0.0.1 and ::1, also where the system's list of hosts has
        only one of them, or none (RFC 6761): clients have lists of their own.

        Raises ConfigError for what is no address, CorralError for one that can't be had. Of several addresses
        those that this machine doesn't have are left out: names are often listed with ::1 where IPv6 is off.
        """
        addresses = _addresses(host, port)
        for _ in range(_TRIES if port == 0 and len(addresses) > 1 else 1):
            try:
                listener = cls(_bind_all(host, addresses))
            except _PortInUse as error:
                in_use = error
            else:
                listener.host = host_names(host)[0]
                return listener
        raise CorralError(
            f"port {in_use.port} on {in_use.where} is in use; stop what listens there, or choose another with"
            " --port"
        ) from in_use

    def getsockname(self) -> tuple[str, int]:
        """Return an address of it and the port: the first of the network. Raises ValueError without any."""
        for each in self.sockets:
            if each.family != socket.AF_UNIX:
                name = each.getsockname()
                return str(name[0]), int(name[1])
        raise ValueError("it has unix sockets alone")

    @property
    def unix_path(self) -> str | None:
        """The path of its unix socket, if it has nothing else."""
        names = [each.getsockname() for each in self.sockets if each.family == socket.AF_UNIX]
        return str(names[0]) if names and len(names) == len(self.sockets) else None

    def listen(self) -> None:
        """Let clients connect before the server accepts them."""
        for each in self.sockets:
            each.listen()

    def close(self) -> None:
        """Close every socket; harmless when repeated."""
        for each in self.sockets:
            each.close()


class _PortInUse(Exception):
    """An address's port is in use; it never leaves this module."""

    def __init__(self, where: str, port: int) -> None:
        super().__init__(where)
        self.where = where
        self.port = port


def host_names(text: str) -> list[str]:
    """Return the hosts of `--host`, which are separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def is_loopback(name: str) -> bool:
    """Return True for a host that no other machine reaches."""
    plain = name.lower().removesuffix(".").strip("[]")
    try:
        return ip_address(plain).is_loopback
    except ValueError:
        return plain == "localhost" or plain.endswith(".localhost")


def _addresses(hosts: str, port: int) -> list[Address]:
    """Return all addresses that hosts stand for. An IPv6 address may have the brackets of a URL."""
    return list(dict.fromkeys(address for host in host_names(hosts) for address in _addresses_of(host, port)))


def _addresses_of(host: str, port: int) -> list[Address]:
    name = host.lower().removesuffix(".")
    is_local = name == "localhost" or name.endswith(".localhost")
    try:
        plain = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        infos = socket.getaddrinfo(plain, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        if not is_local:
            reason = error.strerror if isinstance(error, socket.gaierror) else "it is no host name"
            raise ConfigError(f"{host} is no address to listen on ({reason}); check --host") from error
        infos = []
    found: list[Address] = [(int(info[0]), tuple(info[4])) for info in infos]
    if is_local:
        found += [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))]
    return found


def _bind_all(host: str, addresses: Sequence[Address]) -> list[socket.socket]:
    """Return a socket for each address, on one port, or none. Raises _PortInUse and CorralError."""
    made: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, (address, wanted, *rest) in addresses:
            port = made[0].getsockname()[1] if made else wanted
            try:
                made.append(_bind(family, (address, port, *rest), only_ipv6=len(addresses) > 1))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    where = host if address == host else f"{host} ({address})"
                    raise _PortInUse(where, int(port)) from error
                if error.errno not in _NOT_ON_THIS_MACHINE:
                    raise _refusal(host, port, error) from error
                missing = error
        if not made:
            assert missing is not None
            raise _refusal(host, addresses[0][1][1], missing) from missing
    except BaseException:  # nothing stays open
        for each in made:
            each.close()
        raise
    return made


def _bind(family: int, address: tuple[Any, ...], *, only_ipv6: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and only_ipv6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:  # nothing stays open
        made.close()
        raise
    return made


def _refusal(host: str, port: str | int, error: OSError) -> CorralError:
    return CorralError(f"can't listen on {host}, port {port}: {error.strerror}; check --host and --port")
