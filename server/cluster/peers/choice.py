"""`choose`: the replica for a request: consistent hashing with bounded loads. Pure.

Requests whose prompts begin alike have one key, and a key has a place on a ring on which each replica has
many. It goes to the next replica from there that is half empty, or isn't loaded much more than the others
are. So a replica gets what its prefix cache holds, one that comes or goes moves few keys, and no key
overloads one.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

PLACES = 100
"""Each replica has so many places on the ring."""
SPREAD = 1.5
"""A replica that is half full gets at most so many times the mean of all loads by its key. One that isn't has
room beside all that it computes, and another one would have to compute the prompt's beginning first.
"""


class Load(NamedTuple):
    """The requests that a replica has, and the most that it takes."""

    n: int
    most: int


class Ring:
    """The places of replicas by their names."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        places = sorted((_place(f"{name} {number}"), name) for name in names for number in range(PLACES))
        self._places = [place for place, _ in places]
        self._names = [name for _, name in places]

    def order(self, key: str) -> Iterator[str]:
        """Yield each replica once, as they come from the key's place on."""
        names, start = self._names, bisect_right(self._places, _place(key))
        seen: set[str] = set()
        for number in range(len(names)):
            name = names[(start + number) % len(names)]
            if name not in seen:
                seen.add(name)
                yield name


def bound(loads: Mapping[str, Load]) -> int:
    """Return the load up to which a replica gets a request by its key."""
    return math.ceil(SPREAD * (sum(load.n for load in loads.values()) + 1) / len(loads))


def choose(ring: Ring, key: str, loads: Mapping[str, Load]) -> str | None:
    """Return the replica that a request goes to, None if all are full.

    `loads` has those that may get it, which all are on the ring. An empty key belongs nowhere: the least
    loaded one gets it.
    """
    free = {name: load for name, load in loads.items() if load.n < load.most}
    if not free:
        return None
    if key:
        most = bound(loads)
        for name in ring.order(key):
            if name in free and free[name].n < max(most, free[name].most // 2):
                return name
    return min(free, key=lambda name: (free[name].n, name))


def _place(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
