"""`IdleWork`: the books of requests that are computed only while there are no others. Pure.

They have IDLE_PRIORITY. When any other request comes, they give up their slots before its first step, and
come back when the last one has ended; what they had computed stays in the slots until somebody needs room.
"""

from __future__ import annotations

from bisect import bisect_left

from server.engine.request import IDLE_PRIORITY
from server.engine.sequence import Sequence


class IdleWork:
    """The numbers of live sequences of idle work, and of others."""

    def __init__(self) -> None:
        self._n_idle_work = 0
        self._n_others = 0

    def count(self, sequence: Sequence, change: int) -> None:
        """Count a sequence that has come (1) or ended (-1)."""
        if is_idle_work(sequence):
            self._n_idle_work += change
        else:
            self._n_others += change

    @property
    def gives_way(self) -> bool:
        """True while idle work and others are there: only the others are computed."""
        return self._n_idle_work > 0 and self._n_others > 0

    def in_the_way(self, running: list[Sequence]) -> list[Sequence]:
        """Return the running sequences that give up their slots now."""
        return [sequence for sequence in running if is_idle_work(sequence)] if self.gives_way else []

    def turn_of(self, waiting: list[Sequence]) -> list[Sequence]:
        """Return the waiting sequences that may get a slot now, of all in the order of `rank`."""
        return waiting[: first_idle_work(waiting)] if self.gives_way else waiting


def is_idle_work(sequence: Sequence) -> bool:
    """Return True for a sequence of a request with IDLE_PRIORITY."""
    return sequence.group.request.priority >= IDLE_PRIORITY


def first_idle_work(waiting: list[Sequence]) -> int:
    """Return the place of the first sequence of idle work in a queue in the order of `rank`, or its end."""
    return bisect_left(waiting, IDLE_PRIORITY, key=lambda sequence: sequence.group.request.priority)
