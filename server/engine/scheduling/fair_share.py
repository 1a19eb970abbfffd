"""`FairShare`: owners of requests get equal shares of the tokens that are computed. Pure; no clock.

Each owner has a count of the tokens computed for it while others had something to compute as well; whoever
has the lowest goes first. An owner that comes, or comes back, begins where the lowest of the others is, at
least: nobody saves up for later, and nobody loses by waiting.
"""

from __future__ import annotations

from collections import Counter


class FairShare:
    """The owners with live sequences, how many of those run, and what was computed for them."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._n_live: Counter[str] = Counter()
        self._n_running: Counter[str] = Counter()

    @property
    def n_owners(self) -> int:
        """The number of owners with live sequences."""
        return len(self._n_live)

    @property
    def is_shared(self) -> bool:
        """True if several owners have live sequences. With one alone, nothing here matters."""
        return len(self._n_live) > 1

    @property
    def owners(self) -> list[str]:
        """The owners with live sequences."""
        return list(self._n_live)

    def n_live(self, owner: str) -> int:
        """Return the number of its sequences, waiting or running."""
        return self._n_live[owner]

    def n_running(self, owner: str) -> int:
        """Return the number of its sequences that have a slot."""
        return self._n_running[owner]

    def used(self, owner: str) -> int:
        """Return the tokens computed for it, since some common beginning."""
        return self._used.get(owner, 0)

    def slots_each(self, n_slots: int) -> int:
        """Return the number of slots that each owner may hold against others."""
        return max(1, n_slots // max(1, len(self._n_live)))

    def add(self, owner: str) -> None:
        """Note a new sequence."""
        if owner not in self._n_live:
            lowest = min((self.used(other) for other in self._n_live), default=0)
            self._used[owner] = max(self.used(owner), lowest)
        self._n_live[owner] += 1

    def remove(self, owner: str) -> None:
        """Note a sequence's end."""
        self._n_live[owner] -= 1
        if self._n_live[owner]:
            return
        del self._n_live[owner]
        lowest = min((self.used(other) for other in self._n_live), default=None)
        # One that is gone would begin there anyway, were it to come back.
        self._used = {
            other: used
            for other, used in self._used.items()
            if lowest is not None and (other in self._n_live or used > lowest)
        }

    def enter(self, owner: str) -> None:
        """Note that one of its sequences got a slot."""
        self._n_running[owner] += 1

    def leave(self, owner: str) -> None:
        """Note that one of its sequences has none any more."""
        self._n_running[owner] -= 1
        if not self._n_running[owner]:
            del self._n_running[owner]

    def count(self, owner: str, n_tokens: int) -> None:
        """Note that so many tokens were computed for it."""
        if len(self._n_live) > 1:
            self._used[owner] += n_tokens
