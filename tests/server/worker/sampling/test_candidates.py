from __future__ import annotations

import numpy as np
import pytest

from server.worker.sampling.candidates import FoldedRows, n_lines

SIZES = [1, 3, 63, 64, 500, 4099, 20000]


def make_rows(n_vocab: int, ties: bool = False) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows = np.random.default_rng(n_vocab).standard_normal((5, n_vocab)).astype(np.float32)
    return np.round(rows, 1) if ties else rows


@pytest.mark.parametrize("n_vocab", SIZES)
@pytest.mark.parametrize("top_k", [1, 7, 40, 900])
@pytest.mark.parametrize("ties", [False, True])
def test_the_largest_are_among_the_candidates(n_vocab: int, top_k: int, ties: bool) -> None:
    top_k = min(top_k, n_vocab)
    rows = make_rows(n_vocab, ties)
    folded = FoldedRows(rows, n_lines(n_vocab, top_k))
    assert folded.best == rows.max(axis=1).tolist()
    for number, row in enumerate(rows):
        bound = folded.bound(number, top_k)
        found = folded.at_least(number, bound)
        ids = [found.token(place) for place in range(len(found.values))]
        assert ids == np.flatnonzero(row >= bound).tolist()
        assert found.values == row[ids].tolist()
        assert len(ids) >= top_k
        if not ties and n_vocab > 1000:
            assert len(ids) < 1.5 * top_k + 20


@pytest.mark.parametrize("n_vocab", SIZES)
def test_the_only_token_is_the_only_one(n_vocab: int) -> None:
    rows = make_rows(n_vocab)
    folded = FoldedRows(rows, n_lines(n_vocab, 1))
    found = 0
    for number, row in enumerate(rows):
        for distance in (0.0, 0.01, 0.3, 2.0):
            floor = float(row.max()) - distance
            only = folded.only_token(number, floor)
            if only is not None:
                found += 1
                assert np.flatnonzero(row >= floor).tolist() == [only]
    assert found or n_vocab == 1


def test_banned_entries_are_no_candidates() -> None:
    rows = np.full((1, 1000), -np.inf, np.float32)
    rows[0, [3, 500, 999]] = [1.0, -2.0, 0.5]
    folded = FoldedRows(rows, n_lines(1000, 10))
    found = folded.at_least(0, folded.bound(0, 10))
    assert [found.token(place) for place in range(len(found.values))] == [3, 500, 999]


@pytest.mark.parametrize("place", [0, 640, 4098])
def test_nan_is_the_maximum(place: int) -> None:
    rows = make_rows(4099)
    rows[2, place] = np.nan
    best = FoldedRows(rows, 64).best
    assert np.isnan(best).tolist() == [False, False, True, False, False]


def test_there_are_groups_enough() -> None:
    assert n_lines(32000, 40) == 64
    assert n_lines(32000, 1000) == 8
    assert n_lines(32000, 32000) == 1
    assert n_lines(3, 1) == 1
