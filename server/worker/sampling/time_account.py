"""`TimeAccount`: the computing that an answer's grammar has taken, against what it may take. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """A limit on computing: so much at once, and so much more for each token."""

    free_s: float
    per_token_s: float


FOLLOWING = TimeLimit(free_s=0.05, per_token_s=0.001)
"""The engine itself takes in tokens, and everybody waits meanwhile. A usual grammar takes 0.1 ms a token."""
MASKING = TimeLimit(free_s=0.25, per_token_s=0.005)
"""Masks are computed beside the model, on a core that it would use. A usual one takes 0.1 ms, one of
Unicode's classes a millisecond."""


class TimeAccount:
    """The time that one answer has taken under a limit. One thread at a time."""

    __slots__ = ("_left_s", "_limit", "_n_tokens", "_taken_s")

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit
        self._left_s = limit.free_s
        self._taken_s = 0.0
        self._n_tokens = 0

    def take(self, seconds: float, n_tokens: int = 1) -> None:
        """Count computing for some tokens."""
        self._taken_s += seconds
        self._n_tokens += n_tokens
        self._left_s += n_tokens * self._limit.per_token_s - seconds

    @property
    def is_overdrawn(self) -> bool:
        """True if it took more than it may."""
        return self._left_s < 0.0

    def __str__(self) -> str:
        """Return what it took and the limit, in words that follow "it takes"."""
        each_ms = 1e3 * self._taken_s / max(1, self._n_tokens)
        return f"{each_ms:.1f} ms of computing a token; the limit is {1e3 * self._limit.per_token_s:g} ms"
