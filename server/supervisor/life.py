"""`Life`: how long one model is to stay loaded; `Alarm`: the moment at which a time is over."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Life:
    """The wishes for one model. They outlast its loads; requests and administrators change them."""

    keep_alive_s: float = math.inf
    """It is unloaded after being idle for so long, unless a request says otherwise; infinity: never."""
    pinned: bool = False
    """It is never unloaded to make room, nor for being idle."""
    priority: int = 0
    """Models with a higher one are unloaded later."""
    asked_keep_alive_s: float | None = None
    """The time that the latest request which says one asks for; forgotten once the model is unloaded."""

    @property
    def idle_limit_s(self) -> float:
        """The seconds of idleness after which it goes; infinity: it stays."""
        if self.pinned:
            return math.inf
        return self.keep_alive_s if self.asked_keep_alive_s is None else self.asked_keep_alive_s


@dataclass(frozen=True, slots=True)
class LifeSettings:
    """The wishes that the settings have for models, by name or `name:TYPE`; the longer one wins. Pure."""

    keep_alive_s: float = math.inf
    """The time for models that aren't named."""
    keep_alives_s: Mapping[str, float] = field(default_factory=dict)
    priorities: Mapping[str, int] = field(default_factory=dict)
    pinned: Collection[str] = ()

    def life_of(self, name: str, key: str) -> Life:
        """Return the wishes for the file `key` of the model `name`."""
        return Life(
            keep_alive_s=_of(self.keep_alives_s, name, key, self.keep_alive_s),
            pinned=not {name, key}.isdisjoint(self.pinned),
            priority=_of(self.priorities, name, key, 0),
        )

    def unmet(self, known: Collection[str]) -> list[str]:
        """Return the names that have a wish and aren't among the `known` ones, names and keys of files."""
        return sorted({*self.keep_alives_s, *self.priorities, *self.pinned} - set(known))


class Alarm:
    """Calls `ring` once a time is over. It belongs to the event loop."""

    def __init__(self, ring: Callable[[], object]) -> None:
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None

    def set(self, left_s: float) -> None:
        """Ring in `left_s` seconds and not before; infinity: never."""
        self.cancel()
        if left_s < math.inf:
            self._handle = asyncio.get_running_loop().call_later(max(left_s, 0.0), self._ring)

    def cancel(self) -> None:
        """Ring no more; harmless when repeated."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


def _of(given: Mapping[str, T], name: str, key: str, default: T) -> T:
    return given.get(key, given.get(name, default))
