"""Addresses of a cluster's machines: as users write them, and whether this machine has them."""

from __future__ import annotations

import ipaddress
import socket

from models.errors import ConfigError, CorralError
from server.cluster.haproxy import Address

RAY_PORT = 6379
"""The head listens at this port unless it is told another."""
CONNECT_TIMEOUT_S = 5.0


def split_address(text: str, port: int = RAY_PORT) -> tuple[str, int]:
    """Return host and port of `HOST` or `HOST:PORT`. Raises ConfigError."""
    wrong = ConfigError(
        f"{text!r:.100} is no address of a cluster; give its head's: 10.0.0.1, or 10.0.0.1:{port}"
    )
    try:
        address = Address.parse(text, port)
    except ConfigError:
        raise wrong from None
    if address.tls:
        raise wrong
    return address.host, address.port


def joined_address(host: str, port: int) -> str:
    """Return `HOST:PORT`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def checked_node_ip(host: str, *, network_is_private: bool = False) -> str:
    """Return the address of this machine that the others are to use.

    Raises ConfigError for one that stands for all addresses, one of the open internet, and one that this
    machine doesn't have.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise ConfigError(
            f"{host} is no IP address; give the one by which the others reach this machine"
        ) from error
    if address.is_unspecified:
        raise ConfigError(
            f"{host} would be all of this machine's addresses; name the one of the network between the"
            " machines"
        )
    if not address.is_private and not network_is_private:
        raise ConfigError(
            f"{host} is an address of the open internet: Ray listens there, and whoever gets the token runs"
            " code on all machines; use a private network or a tunnel (WireGuard), or say"
            " --network-is-private if nobody else reaches that address"
        )
    with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise ConfigError(
                f"this machine doesn't have the address {host}; `ip address` lists them"
            ) from error
    return host


def address_towards(head: str) -> str:
    """Return this machine's address on the way to the head, which has to answer. Raises CorralError."""
    host, port = split_address(head)
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as connection:
            return str(connection.getsockname()[0])
    except OSError as error:
        raise CorralError(
            f"nothing answers at {joined_address(host, port)} ({error.strerror or error}); check that `corral"
            " cluster up` runs there, and that no firewall is between"
        ) from error
