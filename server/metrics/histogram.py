"""`Histogram`: counts of values in buckets and their sum, cheap enough for every token.

prometheus_client's own takes a lock and looks through the buckets one by one, which would be a tenth of what
a streamed chunk costs the API process. These counts become its families when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

_E12 = (1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2)

WAIT_BOUNDS_S: tuple[float, ...] = (
    *(round(factor * 10.0**power, 6) for power in range(-3, 2) for factor in _E12),
    100.0,
    200.0,
    500.0,
    1000.0,
    2000.0,
)
"""Bounds for the time to a first token, each a fifth above the one before, from a millisecond on: so that a
quantile that Prometheus estimates from them is near the true one."""

GAP_BOUNDS_S: tuple[float, ...] = tuple(
    round(factor * 10.0**power, 6) for power in range(-4, 1) for factor in (1.0, 1.5, 2.2, 3.3, 4.7, 6.8)
)
"""Bounds for the time between two tokens, from 0.1 ms to 6.8 s."""

REQUEST_BOUNDS_S: tuple[float, ...] = (
    *(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0),
    *(50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
"""Bounds for the parts of a request's time and for all of it."""

TOKEN_BOUNDS: tuple[float, ...] = tuple(
    float(factor * 10**power) for power in range(6) for factor in (1, 2, 5)
)
"""Bounds for numbers of tokens."""


class Histogram:
    """Counts values by `bounds`, each bucket up to and with its bound; the last bucket has the rest."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0
        """The sum of all values."""

    @property
    def n(self) -> int:
        """The number of values."""
        return sum(self.counts)

    def add(self, value: float, n: int = 1) -> None:
        """Count `value`, `n` times."""
        self.counts[bisect_left(self.bounds, value)] += n
        self.total += value * n
