"""The few entries of a row of logits that can be sampled at all, found without sorting or copying the row.

A row of V logits is folded into G lines of W: entry i*W + g belongs to group g, and one pass takes each
group's maximum. If k groups have a maximum of at least b, so have k entries, and each entry of at least b is
in a group whose maximum is: only those groups are looked through. What doesn't fill a line is the tail.

                 g = 0 … W-1
    line 0      [ . . . . . . ]
    line G-1    [ . . . . . . ]  tail [ . . . ]   V - G*W entries
    maxima      [ . . . . . . ]

A decode leaves the caches full of weights, so each call into NumPy costs microseconds of misses, whatever it
computes: what counts is few calls over little memory. One row's few candidates go on as Python's floats.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

_MOST_LINES = 64
_GROUPS_PER_K = 4  # so that a bound from the maxima lets few entries pass that aren't among the k
_LOWEST = float(np.finfo(np.float32).min)


def n_lines(n_vocab: int, top_k: int) -> int:
    """How many lines to fold a row into, so that there are groups enough for `top_k`; a power of two."""
    lines = _MOST_LINES
    while lines > 1 and n_vocab // lines < _GROUPS_PER_K * top_k:
        lines //= 2
    return lines


class Candidates(NamedTuple):
    """Entries of one row, ascending by id: the `values`, and what `token` finds their ids with."""

    values: list[float]
    places: Indices  # of the values before the tail's, in the lines of the groups looked through
    columns: Indices  # those groups
    width: int
    tail_ids: list[int]

    def token(self, number: int) -> int:
        """The id of `values[number]`."""
        n_folded = len(self.places)
        if number >= n_folded:
            return self.tail_ids[number - n_folded]
        line, column = divmod(int(self.places[number]), len(self.columns))
        return line * self.width + int(self.columns[column])


class FoldedRows:
    """Rows of logits [R, V] and their groups' maxima. Views: valid as long as the logits are."""

    def __init__(self, logits: Floats, lines: int) -> None:
        n_rows, n_vocab = logits.shape
        self._width = n_vocab // lines
        main = lines * self._width
        self._n_main = main
        self._lines = logits[:, :main].reshape(n_rows, lines, self._width)
        self._maxima = np.maximum.reduce(self._lines, axis=1)
        self._ranked = self._maxima.copy()
        self._ranked.sort(axis=1)  # NaN comes last
        self._tails: Floats | None = None
        self.best: list[float] = self._ranked[:, -1].tolist()
        """Each row's maximum; NaN if the row has one."""
        if main < n_vocab:
            self._tails = logits[:, main:]
            self._tail_best = self._tails.max(axis=1)
            self.best = np.maximum(self._ranked[:, -1], self._tail_best).tolist()

    def bound(self, row: int, top_k: int) -> float:
        """A logit that at least the `top_k` largest of the row reach; few others do."""
        return float(self._ranked[row, -top_k])

    def only_token(self, row: int, floor: float) -> int | None:
        """The one token whose logit is at least `floor`; None if there are more, or it would take long."""
        if self._ranked[row, -2:][0] >= floor:
            return None
        if self._tails is not None and self._tail_best[row] >= floor:
            return None
        column = int(self._maxima[row].argmax())
        values: list[float] = self._lines[row, :, column].tolist()
        places = [place for place, value in enumerate(values) if value >= floor]
        return places[0] * self._width + column if len(places) == 1 else None

    def at_least(self, row: int, bound: float) -> Candidates:
        """The entries of the row that are at least `bound`; banned ones (-inf) never are."""
        bound = max(bound, _LOWEST)
        columns = (self._maxima[row] >= bound).nonzero()[0]
        block = self._lines[row].take(columns, axis=1)
        places = (block >= bound).ravel().nonzero()[0]
        values: list[float] = block.take(places).tolist()
        tail_ids: list[int] = []
        if self._tails is not None:
            for number, value in enumerate(self._tails[row].tolist(), self._n_main):
                if value >= bound:
                    values.append(value)
                    tail_ids.append(number)
        return Candidates(values, places, columns, self._width, tail_ids)
