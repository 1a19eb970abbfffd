from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.loadtest.figures import figures_of, percentile
from server.loadtest.outcome import Outcome


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
    percent=st.sampled_from([0, 1, 50, 99, 100]),
)
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    expected = float(np.percentile(values, percent))
    assert percentile(sorted(values), percent) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_no_values_have_no_percentile() -> None:
    assert percentile([], 50) is None


def outcome(start: float, times: list[float], end: float, **more: object) -> Outcome:
    return Outcome("", start, end, times, 10, 20, 5, 10, "length", **more)  # type: ignore[arg-type]


def test_figures() -> None:
    found = figures_of([outcome(10.0, [11.0, 11.5, 12.0], 12.0), outcome(10.5, [12.5, 14.5], 15.0)])
    assert found.wall_s == 5.0
    assert (found.tokens_out, found.tokens_in, found.tokens_cached) == (20, 40, 10)
    assert (found.tokens_out_per_s, found.tokens_in_per_s, found.requests_per_s) == (4.0, 8.0, 0.4)
    assert (found.first_token_s.p50, found.first_token_s.longest) == (1.5, 2.0)
    assert (found.gap_s.p50, found.gap_s.longest) == (0.5, 2.0)
    assert found.end_to_end_s.p50 == 3.25
    assert json.loads(json.dumps(found.to_json()))["tokens_in_per_s"] == 8.0


def test_failed_requests_are_counted_and_left_out() -> None:
    failed = outcome(0.0, [1.0], 100.0, error="broken")
    found = figures_of([outcome(10.0, [11.0], 12.0), failed])
    assert (found.n_requests, found.n_errors, found.wall_s, found.tokens_out) == (2, 1, 2.0, 10)


def test_nothing_good_at_all() -> None:
    for outcomes in ([], [outcome(0.0, [], 1.0, error="broken")]):
        found = figures_of(outcomes)
        assert (found.tokens_out_per_s, found.tokens_in_per_s, found.requests_per_s) == (0.0, None, 0.0)
        assert found.first_token_s.p50 is None


def test_prompts_that_one_answer_does_not_count_are_unknown() -> None:
    uncounted = outcome(0.0, [1.0], 2.0)
    uncounted.n_prompt_tokens = None
    assert figures_of([outcome(0.0, [1.0], 2.0), uncounted]).tokens_in is None
