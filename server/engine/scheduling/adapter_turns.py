"""`AdapterTurns`: a step has one set of LoRA adapters; the sets of live sequences take turns. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from server.engine.batch import Adapters

TURN_STEPS = 4
"""One adapter set gets so many steps in a row while others wait: llama.cpp builds its graphs again at each
change."""


class AdapterTurns:
    """The numbers of live sequences by their adapters, and the steps that each set has had."""

    def __init__(self) -> None:
        self._n_by_adapters: Counter[Adapters] = Counter()
        self._n_counted = 0
        self._last_counted: dict[Adapters, int] = {}
        self._current: Adapters = ()
        self._n_current = 0
        """The current set has had so many steps in a row."""

    @property
    def n_by_adapters(self) -> Mapping[Adapters, int]:
        """The number of live sequences of each set of adapters."""
        return self._n_by_adapters

    def add(self, adapters: Adapters) -> None:
        """Note a new sequence with these adapters."""
        self._n_by_adapters[adapters] += 1
        self._last_counted.setdefault(adapters, self._n_counted)  # behind those that wait already

    def remove(self, adapters: Adapters) -> None:
        """Note the end of a sequence with these adapters."""
        self._n_by_adapters[adapters] -= 1
        if not self._n_by_adapters[adapters]:
            del self._n_by_adapters[adapters]
            self._last_counted.pop(adapters, None)

    def order(self) -> list[Adapters]:
        """Return the adapter sets of all live sequences: first the set that has its turn, then by wait."""
        sets = list(self._n_by_adapters)
        if len(sets) > 1:
            stays = self._current if self._n_current < TURN_STEPS else None
            sets.sort(key=lambda adapters: -1 if adapters == stays else self._last_counted[adapters])
        return sets

    def count(self, adapters: Adapters) -> None:
        """Count a step that went to this set, if there are others."""
        if len(self._n_by_adapters) < 2:
            return
        if adapters != self._current:
            self._current, self._n_current = adapters, 0
        self._n_counted += 1
        self._n_current += 1
        self._last_counted[adapters] = self._n_counted
