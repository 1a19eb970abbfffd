"""`ServerAddress`: the address of an RPC server, as far as llama.cpp can connect to it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from models.errors import ConfigError

DEFAULT_PORT = 50052
"""llama.cpp's own server listens at this port, and so does `corral cluster share`."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_NUMBERS = re.compile(r"[\d.]+")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """An IPv4 address or a host's name, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Parse `HOST:PORT`. Raises ConfigError, also for IPv6, which llama.cpp can't connect to."""
        host, separator, port = text.strip().rpartition(":")
        if ":" in host or "[" in host:
            raise ConfigError(
                f"{text!r:.100} is an IPv6 address, which llama.cpp's RPC can't connect to; give an IPv4"
                " address, a name that has one, or the near end of a tunnel: 127.0.0.1:PORT"
            )
        is_right = separator and _NAME.fullmatch(host) and (not _NUMBERS.fullmatch(host) or _is_ipv4(host))
        if not is_right or not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536):
            raise ConfigError(
                f"{text!r:.100} is no address of an RPC server; give HOST:PORT, such as"
                f" 127.0.0.1:{DEFAULT_PORT}"
            )
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """True if no other machine is reached at it."""
        if _is_ipv4(self.host):
            return IPv4Address(self.host).is_loopback
        return self.host.lower() == "localhost"

    @property
    def target(self) -> tuple[str, int]:
        """The host and port it leads to, as far as its text tells: `localhost` is 127.0.0.1."""
        host = self.host.lower()
        return ("127.0.0.1" if host == "localhost" else host), self.port

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_servers(texts: Iterable[str], *, network_is_private: bool) -> tuple[ServerAddress, ...]:
    """Parse addresses, several in a text with commas between.

    Raises ConfigError, also for texts without any, one that is named twice, and one in a network unless that
    is private.
    """
    texts = tuple(texts)
    addresses = [ServerAddress.parse(part) for text in texts for part in text.split(",") if part.strip()]
    if texts and not addresses:
        raise ConfigError(f"it names no server; give HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}")
    targets = [address.target for address in addresses]
    for index, address in enumerate(addresses):
        if address.target in targets[:index]:
            raise ConfigError(f"the server {address} is named twice; it serves one client at a time")
        require_private(address, network_is_private=network_is_private)
    return tuple(addresses)


def require_private(address: ServerAddress, *, network_is_private: bool) -> None:
    """Raise ConfigError for an address in a network that nobody has called private."""
    if not address.is_loopback and not network_is_private:
        raise ConfigError(
            f"{address} isn't on loopback, and the RPC protocol has neither encryption nor passwords:"
            " whoever reaches the port can read, change and end everything. Use a tunnel"
            " (docs/split-models.md) and its near end on 127.0.0.1, or say --network-is-private where only"
            " your machines are"
        )


def _is_ipv4(host: str) -> bool:
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True
