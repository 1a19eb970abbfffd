"""`RowBans`: the tokens that a grammar rules out in a row of logits, of llguidance's bits. Pure.

Within a string nearly all is allowed: then the ids of the few that are banned are kept, and only their logits
are touched. Each call into NumPy costs microseconds after a decode, so rows are read together.
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
MOST_KNOWN = 64
"""The bans of so many masks are remembered, or those of the last step if they are more."""


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


class BanReader:
    """Reads masks, of which the same come again and again: those of a string, or between two of them."""

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab = n_vocab
        self._known: dict[bytes, RowBans] = {}

    def read(self, words: Words) -> list[RowBans]:
        """Return the bans of each row of masks."""
        known, keys = self._known, [row.tobytes() for row in words]
        new = [row for row, key in enumerate(keys) if key not in known]
        if new:
            if len(known) + len(new) > MOST_KNOWN:
                known = self._known = {key: known[key] for key in keys if key in known}
            known |= {
                keys[row]: bans for row, bans in zip(new, read_bans(words[new], self._n_vocab), strict=True)
            }
        return [known[key] for key in keys]


def read_bans(words: Words, n_vocab: int) -> list[RowBans]:
    """Return the bans of each row of masks."""
    bans = ~words
    if n_vocab % BITS:
        bans[:, -1] &= np.uint32((1 << n_vocab % BITS) - 1)  # no tokens
    bits = bans.astype("<u4", copy=False).view(np.uint8)
    are_few = np.count_nonzero(bits, axis=1) <= FEW * bits.shape[1]
    few, many = iter(_ids(bits[are_few])), iter(_masks(bits[~are_few], n_vocab))
    return [next(few if is_few else many) for is_few in are_few.tolist()]


def _ids(bits: npt.NDArray[np.uint8]) -> list[RowBans]:
    """Return the ids of each row's bans, of all rows together."""
    n_rows, width = bits.shape
    flat = bits.reshape(-1)
    places = (flat != 0).nonzero()[0]
    found = np.unpackbits(flat.take(places), bitorder="little").view(np.bool_).nonzero()[0]
    ids = places.take(found >> 3)
    ids <<= 3
    ids |= found & 7
    starts = [8 * width * row for row in range(n_rows + 1)]
    ends = ids.searchsorted(starts).tolist()
    return [
        RowBans(ids[first:end] - start, end - first)
        for start, first, end in zip(starts, ends, ends[1:], strict=False)
    ]


def _masks(bits: npt.NDArray[np.uint8], n_vocab: int) -> list[RowBans]:
    """Return for each row which tokens are banned."""
    bans = np.unpackbits(bits, axis=1, count=n_vocab, bitorder="little").view(np.bool_)
    return [RowBans(row.copy(), int(np.count_nonzero(row))) for row in bans]
