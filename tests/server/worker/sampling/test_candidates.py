from __future__ import annotations

import numpy as np
import pytest

from server.engine.sampling_params import SamplingParams
from server.worker.sampling.candidates import Candidates, find_candidates, n_lines
from server.worker.sampling.chain import active_steps
from server.worker.sampling.fast_path import recognize
from server.worker.sampling.steps.step import Floats

SIZES = [1, 3, 63, 64, 500, 4099, 20000]


def make_rows(n_vocab: int, ties: bool = False) -> Floats:
    rows = np.random.default_rng(n_vocab).standard_normal((5, n_vocab)).astype(np.float32)
    return np.round(rows, 1) if ties else rows


def ids_of(rows: Floats, *params: SamplingParams) -> list[list[int]]:
    """Return the candidates' ids, row by row; their logits are those of the rows."""
    limits = [recognize(active_steps(each), rows.shape[1]).limits for each in params]
    candidates: Candidates = find_candidates(rows, limits)
    starts = [0, *candidates.ends[:-1]]
    ids = [candidates.ids[start:end].tolist() for start, end in zip(starts, candidates.ends, strict=True)]
    expected = np.concatenate([row[mine] for row, mine in zip(rows, ids, strict=True)])
    assert candidates.logits.tolist() == expected.tolist()
    return ids


@pytest.mark.parametrize("n_vocab", SIZES)
@pytest.mark.parametrize("top_k", [1, 7, 40, 900])
@pytest.mark.parametrize("ties", [False, True])
def test_the_largest_are_among_the_candidates(n_vocab: int, top_k: int, ties: bool) -> None:
    top_k = min(top_k, n_vocab)
    rows = make_rows(n_vocab, ties)
    for row, ids in zip(rows, ids_of(rows, *[SamplingParams(top_k=top_k)] * 5), strict=True):
        bound = row[ids].min()
        assert ids == np.flatnonzero(row >= bound).tolist()
        assert len(ids) >= top_k
        if not ties and n_vocab > 1000:
            assert len(ids) < 1.5 * top_k + 20


@pytest.mark.parametrize("n_vocab", SIZES)
def test_min_p_alone_takes_what_is_likely_enough(n_vocab: int) -> None:
    rows = make_rows(n_vocab)
    params = SamplingParams(top_k=0, top_p=1.0, min_p=0.2)
    for row, ids in zip(rows, ids_of(rows, *[params] * 5), strict=True):
        likely = np.flatnonzero(row >= row.max() + np.log(0.2))
        assert set(likely.tolist()) <= set(ids)
        assert len(ids) <= len(likely) + 2 + n_vocab // 1000


def test_without_top_p_min_p_narrows_the_top_k() -> None:
    rows = make_rows(20000) * 6
    wide, narrow = (
        ids_of(rows, *[SamplingParams(top_k=200, top_p=top_p, min_p=0.1)] * 5) for top_p in (0.9, 1.0)
    )
    assert all(len(n) < len(w) / 4 for n, w in zip(narrow, wide, strict=True))


def test_rows_with_other_limits_stand_side_by_side() -> None:
    rows = make_rows(4099)
    params = [SamplingParams(top_k=k, top_p=0.9) for k in (1, 40, 900, 40, 3)]
    alone = [ids_of(rows[i : i + 1], each)[0] for i, each in enumerate(params)]
    for row, mine, ids, each in zip(rows, ids_of(rows, *params), alone, params, strict=True):
        largest = set(np.argsort(-row)[: each.top_k].tolist())
        assert largest <= set(mine)
        assert largest <= set(ids)


def test_banned_entries_are_no_candidates() -> None:
    rows = np.full((1, 1000), -np.inf, np.float32)
    rows[0, [3, 500, 999]] = [1.0, -2.0, 0.5]
    assert ids_of(rows, SamplingParams(top_k=10)) == [[3, 500, 999]]


@pytest.mark.parametrize("place", [0, 640, 4098])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_finite_has_no_candidates(place: int, value: float) -> None:
    rows = make_rows(4099)
    rows[2, place] = value
    ids = ids_of(rows, *[SamplingParams()] * 5)
    assert [bool(mine) for mine in ids] == [True, True, False, True, True]


def test_there_are_groups_enough() -> None:
    assert n_lines(32000, 40) == 64
    assert n_lines(32000, 1000) == 8
    assert n_lines(32000, 32000) == 1
    assert n_lines(3, 1) == 1
