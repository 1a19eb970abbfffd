"""find_candidates: the few entries of each row of logits that can be sampled, of all rows together.

A row of V logits is folded into G lines of W: entry i*W + g belongs to group g, and one pass takes each
group's maximum. If k groups have a maximum of at least b, so have k entries: the k-th largest maximum is a
bound that the k likeliest entries reach, and few others do. What doesn't fill a line takes no part in that.

                 g = 0 … W-1
    line 0      [ . . . . . . ]
    line G-1    [ . . . . . . ]  tail [ . . . ]   V - G*W entries
    maxima      [ . . . . . . ]

A decode leaves the caches full of weights, so each call into NumPy costs microseconds of misses, whatever it
computes: what counts is few calls, the same few for any number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from typing import NamedTuple

import numpy as np

from server.worker.sampling.steps.step import Bound, Floats, Indices

_LOWEST = float(np.finfo(np.float32).min)
_MOST_LINES = 64
_GROUPS_PER_K = 4
"""Groups that a row is folded into per entry of top_k: a bound from their maxima lets few others pass."""


class Limits(NamedTuple):
    """The bounds of one request together, and the lines into which its rows are folded."""

    top_k: int
    """The `top_k` largest entries are candidates; 0 is no limit."""
    floor: float
    """Logits above the row's maximum plus `floor` are candidates; -inf is no limit."""
    n_lines: int

    @classmethod
    def of(cls, bounds: Sequence[Bound], n_vocab: int) -> Limits:
        """Join `bounds`, of which one at most has a top_k, for rows of `n_vocab` entries."""
        top_k = min(max((bound.top_k for bound in bounds), default=0), n_vocab)
        floor = max((bound.floor for bound in bounds), default=-inf)
        return cls(top_k, floor, n_lines(n_vocab, max(top_k, 1)))


class Candidates(NamedTuple):
    """Candidates of all rows one after the other, each row's ascending by id: ids, logits [N].

    Row r has those from ends[r - 1] to ends[r]. A row whose maximum isn't finite has none.
    """

    ids: Indices
    logits: Floats
    ends: list[int]


def find_candidates(logits: Floats, limits: Sequence[Limits]) -> Candidates:
    """Return the entries of `logits` [R, V] that may be picked of row r under `limits[r]`, and a few more."""
    n_rows, n_vocab = logits.shape
    bounds = _bounds(logits, limits)
    if n_rows == 1:
        ids = (logits[0] >= bounds[0]).nonzero()[0]
        return Candidates(ids, logits[0].take(ids), [len(ids)])
    places = (logits >= np.array(bounds, np.float32)[:, None]).reshape(-1).nonzero()[0]
    ends = places.searchsorted(np.arange(1, n_rows + 1) * n_vocab).tolist()
    return Candidates(places % n_vocab, logits.reshape(-1).take(places), ends)


def _bounds(logits: Floats, limits: Sequence[Limits]) -> list[float]:
    """Return for each row a logit below which nothing matters, NaN for a row that can't be sampled."""
    n_rows, n_vocab = logits.shape
    lines = min([each.n_lines for each in limits])
    width = n_vocab // lines
    main = lines * width
    maxima = np.maximum.reduce(logits[:, :main].reshape(n_rows, lines, width), axis=1)
    maxima.sort(axis=1)  # NaN comes last
    highest = maxima[:, -1]
    if main < n_vocab:
        highest = np.maximum(highest, logits[:, main:].max(axis=1))
    bounds: list[float] = []
    for row, (best, each) in enumerate(zip(highest.tolist(), limits, strict=True)):
        if not isfinite(best):
            bounds.append(np.nan)  # nothing reaches it
            continue
        bound = best + each.floor
        if each.top_k > 0 and maxima[row, -each.top_k] > bound:
            bound = float(maxima[row, -each.top_k])
        bounds.append(max(bound, _LOWEST))
    return bounds


def n_lines(n_vocab: int, top_k: int) -> int:
    """Return the number of lines, a power of two, that leave groups enough for `top_k`."""
    lines = _MOST_LINES
    while lines > 1 and n_vocab // lines < _GROUPS_PER_K * top_k:
        lines //= 2
    return lines
