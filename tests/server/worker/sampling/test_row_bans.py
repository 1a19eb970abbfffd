from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from server.worker.sampling.row_bans import MOST_KNOWN, BanReader, n_words, read_bans

EOG = np.array([0, 7], np.intp)
SIZES = [1, 31, 32, 33, 64, 1000, 1024]
SHARES = [0.0, 0.01, 0.4, 0.5, 0.6, 0.99, 1.0]
"""Of a row's tokens, those that are allowed."""


def masks(n_vocab: int) -> npt.NDArray[np.bool_]:
    """A row of allowed tokens for each share, and ones with the ends of answers alone."""
    random = np.random.Generator(np.random.PCG64(n_vocab))
    rows = [random.random(n_vocab) < share for share in SHARES]
    only_ends = np.zeros(n_vocab, np.bool_)
    only_ends[EOG[n_vocab > EOG]] = True
    one_end = np.zeros(n_vocab, np.bool_)
    one_end[0] = True
    return np.array([*rows, only_ends, one_end, ~only_ends])


def words_of(allowed: npt.NDArray[np.bool_], *, rest: bool) -> npt.NDArray[np.uint32]:
    """Masks as llguidance writes them; `rest`: the bits behind the last token."""
    n_rows, n_vocab = allowed.shape
    padded = np.full((n_rows, n_words(n_vocab) * 32), rest)
    padded[:, :n_vocab] = allowed
    return np.packbits(padded, axis=1, bitorder="little").view("<u4").astype(np.uint32)


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("n_vocab", SIZES)
def test_what_is_not_allowed_is_banned(n_vocab: int, rest: bool) -> None:
    allowed = masks(n_vocab)
    random = np.random.Generator(np.random.PCG64(1))
    logits = random.standard_normal(allowed.shape, dtype=np.float32)
    logits[0, 0] = np.nan  # which stays where it is allowed
    expected = np.where(allowed, logits, np.float32(-np.inf))
    words = words_of(allowed, rest=rest)
    alone = [read_bans(words[row : row + 1], n_vocab)[0] for row in range(len(words))]  # in either form
    for found in (read_bans(words, n_vocab), alone):
        rows = logits.copy()
        for row, bans in zip(rows, found, strict=True):
            bans.ban(row)
        np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("n_vocab", SIZES)
def test_what_is_allowed_besides_the_end(n_vocab: int) -> None:
    allowed = masks(n_vocab)
    ids = EOG[n_vocab > EOG]
    for mask, bans in zip(allowed, read_bans(words_of(allowed, rest=True), n_vocab), strict=True):
        assert bans.allow_besides(ids, n_vocab) is bool(np.delete(mask, ids).any())
        assert bans.allow_besides(ids[:0], n_vocab) is bool(mask.any())


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_few_bans_are_ids(share: float) -> None:
    random = np.random.Generator(np.random.PCG64(2))
    allowed = random.random((3, 1000)) < share
    for mask, bans in zip(allowed, read_bans(words_of(allowed, rest=False), 1000), strict=True):
        assert bans.n_banned == (~mask).sum()
        assert (bans.banned.dtype == np.bool_) is (share < 0.5)


def test_masks_that_come_again_are_read_once() -> None:
    reader = BanReader(1000)
    random = np.random.Generator(np.random.PCG64(3))
    seen = random.random((MOST_KNOWN + 20, 1000)) < 0.9
    for _ in range(40):
        allowed = seen[random.integers(0, len(seen), 12)]
        found = reader.read(words_of(allowed, rest=False))
        for mask, bans in zip(allowed, found, strict=True):
            row = np.zeros(1000, np.float32)
            bans.ban(row)
            np.testing.assert_array_equal(row == 0.0, mask)
        assert len(reader._known) <= MOST_KNOWN
    first, again = (reader.read(words_of(seen[:2], rest=False)) for _ in range(2))
    assert all(a is b for a, b in zip(first, again, strict=True))
