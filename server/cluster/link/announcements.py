"""`Announcements`: the addresses of API processes that live, of those that the cluster keeps. Pure.

An API process that is killed takes no address away. So each keeps its own again and again with a higher
number, and a reader drops one whose number has stayed the same for too long by the reader's own clock: those
of two machines need not agree.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from server.cluster.deployments import LinkAddress

RENEW_S = 5.0
"""An address is kept again at this interval."""
LEASE_S = 30.0
"""One that wasn't for so long is stale."""


class Announcement(msgspec.Struct, frozen=True, array_like=True):
    """An address as the cluster keeps it."""

    address: LinkAddress
    n_renewals: int


_decoder = msgspec.msgpack.Decoder(Announcement)


def key_of(address: LinkAddress) -> str:
    """Return the key below which an address is kept, without its secret."""
    return f"{address.host}:{address.port}"


def encoded(address: LinkAddress, n_renewals: int) -> bytes:
    """Return what the cluster keeps."""
    return msgspec.msgpack.encode(Announcement(address, n_renewals))


class Announcements:
    """The memory of one reader."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[bytes, float]] = {}
        """The value that each key had when it was read last, and since when."""

    def live(self, found: Mapping[str, bytes], now_s: float) -> list[LinkAddress]:
        """Return the addresses of what is kept now, but for stale ones and what another version wrote."""
        self._seen = {
            key: self._seen[key] if key in self._seen and self._seen[key][0] == data else (data, now_s)
            for key, data in found.items()
        }
        addresses = []
        for data, since_s in self._seen.values():
            if now_s - since_s < LEASE_S:
                try:
                    addresses.append(_decoder.decode(data).address)
                except msgspec.MsgspecError:
                    continue
        return addresses

    def stale(self, now_s: float) -> list[str]:
        """Return the keys of what is stale."""
        return [key for key, (_, since_s) in self._seen.items() if now_s - since_s >= LEASE_S]
