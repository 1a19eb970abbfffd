from __future__ import annotations

import random

import pytest

from server.metrics.histogram import (
    GAP_BOUNDS_S,
    REQUEST_BOUNDS_S,
    TOKEN_BOUNDS,
    WAIT_BOUNDS_S,
    Histogram,
)


def test_a_value_on_a_bound_is_in_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.add(value)
    assert histogram.counts == [2, 2, 1]
    assert (histogram.n, histogram.total) == (5, 7.5)


@pytest.mark.parametrize("bounds", [WAIT_BOUNDS_S, GAP_BOUNDS_S, REQUEST_BOUNDS_S, TOKEN_BOUNDS])
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


@pytest.mark.parametrize("median_s", [0.004, 0.03, 0.25, 1.7, 12.0])
def test_the_quantiles_of_waits_are_those_of_the_values(median_s: float) -> None:
    """Prometheus' `histogram_quantile` goes straight through a bucket; so does this."""
    random.seed(3)
    values = sorted(random.lognormvariate(0.0, 0.5) * median_s for _ in range(4000))
    histogram = Histogram(WAIT_BOUNDS_S)
    for value in values:
        histogram.add(value)
    for quantile in (0.5, 0.9, 0.99):
        true = values[int(quantile * len(values))]
        assert estimated(histogram, quantile) == pytest.approx(true, rel=0.05)


def estimated(histogram: Histogram, quantile: float) -> float:
    wanted, below, low = quantile * histogram.n, 0, 0.0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        if below + count >= wanted:
            return low + (bound - low) * (wanted - below) / count
        below, low = below + count, bound
    return low
