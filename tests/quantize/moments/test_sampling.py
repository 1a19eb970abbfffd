from __future__ import annotations

import numpy as np
import pytest

from quantize.moments.moments import FIRST_ROWS
from quantize.moments.sampling import Sampling, spaced


@pytest.mark.parametrize(("n_windows", "n_ctx"), [(1, 512), (7, 512), (8, 512), (100, 512), (641, 1100)])
def test_the_whole_text_has_its_share(n_windows: int, n_ctx: int) -> None:
    sampling = Sampling(n_windows, n_ctx)
    windows = range(n_windows)
    held_out = [window for window in windows if sampling.is_held_out(window)]
    assert len(held_out) == sampling.n_held_out == n_windows // 8
    first = [w for w in windows if not sampling.is_held_out(w) and sampling.keeps_first(w)]
    assert len(first) == sampling.n_first == min(FIRST_ROWS, n_windows - len(held_out))
    for n_products in (sampling.graphs, 2 * sampling.graphs):
        kept = [sampling.n_kept(w, p, n_products, 256) for w in held_out for p in range(n_products)]
        assert sum(kept) == (256 if held_out else 0)
        assert not kept or max(kept) - min(kept) <= 1


def test_windows_are_computed_in_graphs_of_512_tokens() -> None:
    assert [Sampling(1, n_ctx).graphs for n_ctx in (32, 512, 513, 1024, 2100)] == [1, 1, 2, 2, 5]


def test_rows_are_spaced_evenly() -> None:
    assert spaced(8, 2).tolist() == [2, 6]
    assert spaced(5, 5).tolist() == spaced(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert spaced(5, 0).tolist() == []
    numbers = spaced(512, 36)
    assert len(set(numbers.tolist())) == 36
    assert set(np.diff(numbers).tolist()) <= {14, 15}
