"""`RowBans`: the tokens that a grammar rules out in a row of logits, of llguidance's bits. Pure.

Within a string nearly all is allowed: then the ids of the few that are banned are kept, and only their logits
are touched. Each call into NumPy costs microseconds after a decode, so all rows are read in few.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from server.worker.sampling.steps.step import Floats, Indices

Words = npt.NDArray[np.uint32]
"""Masks as llguidance writes them: [R, W], a bit for each token, the lowest first; set if it is allowed."""

BITS = 32
"""The bits of a word."""
FEW = 0.15
"""Bans are few if at most so many of the masks' bytes hold one: finding their ids is the quicker way then."""


class RowBans(NamedTuple):
    """The bans of one row: places in it, and their number."""

    banned: Indices | npt.NDArray[np.bool_]
    """Ids; or for each token [V] if it is banned."""
    n_banned: int

    def ban(self, row: Floats) -> None:
        """Write -inf to each banned token of a row of logits [V]."""
        if self.banned.dtype == np.bool_:
            np.copyto(row, -np.inf, where=self.banned)
        else:
            row[self.banned] = -np.inf

    def allow_besides(self, ids: Indices, n_vocab: int) -> bool:
        """Return True if a token that isn't one of `ids`, each named once, is allowed."""
        n_allowed = n_vocab - self.n_banned
        if n_allowed > len(ids):
            return True
        row = np.zeros(n_vocab, np.float32)
        self.ban(row)
        return n_allowed > int(np.count_nonzero(row[ids] == 0.0))


def n_words(n_vocab: int) -> int:
    """Return the words of a row's mask."""
    return -(-n_vocab // BITS)


def read_bans(words: Words, n_vocab: int) -> list[RowBans]:
    """Return the bans of each row of masks."""
    n_rows, width = words.shape
    bans = ~words
    if n_vocab % BITS:
        bans[:, -1] &= np.uint32((1 << n_vocab % BITS) - 1)  # no tokens
    flat = bans.astype("<u4", copy=False).view(np.uint8).reshape(-1)
    places = (flat != 0).nonzero()[0]
    if len(places) > FEW * len(flat):
        bits = np.unpackbits(flat.reshape(n_rows, -1), axis=1, count=n_vocab, bitorder="little")
        return [RowBans(row, int(np.count_nonzero(row))) for row in bits.view(np.bool_)]
    found = np.unpackbits(flat.take(places), bitorder="little").view(np.bool_).nonzero()[0]
    ids = places.take(found >> 3)
    ids <<= 3
    ids |= found & 7
    if n_rows == 1:
        return [RowBans(ids, len(ids))]
    starts = range(0, (n_rows + 1) * width * BITS, width * BITS)
    ends = ids.searchsorted(starts).tolist()
    return [
        RowBans(ids[first:end] - start, end - first)
        for start, first, end in zip(starts, ends, ends[1:], strict=False)
    ]
