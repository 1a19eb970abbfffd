"""`KVLayoutPolicy`: the steps at which slots begin and cease to share the KV cells. Pure.

Divided, each slot has a stream of its own: its tokens lie in their order, so attention adds them up in the
same one whatever else is computed, and attention that walks all cells is quicker with many sequences. Shared,
one sequence can have nearly all cells. Each change moves every slot's tokens, so it is made when a sequence
needs it, and taken back only after many steps in which several sequences would have done better.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Protocol


class HasTokens(Protocol):
    """A sequence, as far as its length goes."""

    tokens: list[int]
    draft: list[int]


class KVLayoutPolicy:
    """Decides for one runner, whose slots have `n_stream` tokens each while the cells are divided."""

    def __init__(self, n_stream: int, quiet_steps: int) -> None:
        """The cells are divided again after `quiet_steps` in a row without a sequence that is longer."""
        self.unified = False
        self.n_stream = n_stream
        self._quiet_steps = quiet_steps
        self._n_quiet = 0

    def decide(self, running: Sequence[HasTokens], waiting: Iterable[HasTokens], n_idle: int) -> bool | None:
        """Return True if the cells are to be shared from now on, False if divided; None: no change."""
        if any(map(self._is_long, running)) or any(map(self._is_long, islice(waiting, n_idle))):
            self._n_quiet = 0
            return None if self.unified else self._change(unified=True)
        if not self.unified:
            return None
        self._n_quiet = self._n_quiet + 1 if len(running) > 1 else 0
        return self._change(unified=False) if self._n_quiet > self._quiet_steps else None

    def _change(self, *, unified: bool) -> bool:
        self.unified, self._n_quiet = unified, 0
        return unified

    def _is_long(self, sequence: HasTokens) -> bool:
        return len(sequence.tokens) + len(sequence.draft) > self.n_stream
