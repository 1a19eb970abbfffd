"""`RowBans`: the tokens that a grammar rules out in one row of logits, found of llguidance's bits. Pure.

Few grammars rule out half of a vocabulary: in a string nearly all is allowed, between strings nearly nothing.
So what is kept of a row are the ids of the fewer ones, and only their logits are touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.worker.sampling.steps.step import Floats, Indices

Words = npt.NDArray[np.uint32]
"""Masks as llguidance writes them: [R, W], a bit for each token, the lowest first; set if it is allowed."""

BITS = 32
"""The bits of a word."""
_ALL = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class RowBans:
    """The bans of one row of `n_vocab` logits."""

    ids: Indices
    """Ascending ids: the only ones allowed, or those that are banned."""
    are_allowed: bool
    n_vocab: int

    def ban(self, row: Floats) -> None:
        """Write -inf to each banned token of a row of logits [V]."""
        if self.are_allowed:
            kept = row.take(self.ids)
            row.fill(-np.inf)
            row[self.ids] = kept
        else:
            row[self.ids] = -np.inf

    def allow_besides(self, ids: Indices) -> bool:
        """Return True if a token that isn't one of `ids`, each named once, is allowed."""
        n_common = int(np.isin(ids, self.ids).sum())
        if self.are_allowed:
            return len(self.ids) > n_common
        return self.n_vocab - len(self.ids) > len(ids) - n_common


def n_words(n_vocab: int) -> int:
    """Return the words of a row's mask."""
    return -(-n_vocab // BITS)


def read_bans(words: Words, n_vocab: int) -> list[RowBans]:
    """Return the bans of each row of masks, of all rows in few calls."""
    n_rows, width = words.shape
    n_allowed = np.bitwise_count(words).sum(axis=1)
    are_allowed = n_allowed * 2 <= n_vocab
    wanted = words ^ np.where(are_allowed, np.uint32(0), _ALL)[:, None]
    if n_vocab % BITS:
        wanted[:, -1] &= _ALL >> np.uint32(BITS - n_vocab % BITS)  # no tokens
    flat = wanted.reshape(-1)
    places = (flat != 0).nonzero()[0]
    bits = np.unpackbits(flat.take(places).astype("<u4").view(np.uint8), bitorder="little")
    found = bits.view(np.bool_).nonzero()[0]
    ids = places.take(found >> 5) * BITS + (found & 31)
    starts = np.arange(n_rows + 1) * (width * BITS)
    ends = ids.searchsorted(starts).tolist()
    return [
        RowBans(ids[ends[row] : ends[row + 1]] - starts[row], bool(are_allowed[row]), n_vocab)
        for row in range(n_rows)
    ]
