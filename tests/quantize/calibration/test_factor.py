"""Moments become factors; what are no moments become none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from quantize.calibration.factor import asked_shrinkage, factorize

Floats = npt.NDArray[np.float32]


def rows_of(seed: int, n_rows: int, n: int, rank: int = 8) -> Floats:
    """Rows whose columns depend on each other, of very different sizes."""
    random = np.random.Generator(np.random.PCG64(seed))
    mixing = np.random.Generator(np.random.PCG64(99)).standard_normal((rank, n))
    common = random.standard_normal((n_rows, rank)) @ mixing
    sizes = np.exp(np.linspace(-3, 3, n))
    return ((common + random.standard_normal((n_rows, n))) * sizes).astype(np.float32)


def moments_of(rows: Floats) -> Floats:
    return rows.T @ rows / np.float32(len(rows))


def test_the_factor_is_the_moments() -> None:
    moments = moments_of(rows_of(1, 400, 48))
    factor = factorize(moments, shrinkage=0.25, damping=0.01)
    assert factor is not None
    assert np.array_equal(factor.upper, np.triu(factor.upper))
    np.testing.assert_allclose(
        factor.upper @ factor.upper.T, factor.moments, rtol=1e-4, atol=1e-5 * moments.max()
    )
    off = ~np.eye(48, dtype=bool)
    np.testing.assert_allclose(factor.moments[off], 0.75 * moments[off], rtol=1e-5)
    added = np.diagonal(factor.moments) - np.diagonal(moments)
    np.testing.assert_allclose(
        added, 0.01 * np.median(np.diagonal(moments)), rtol=0.05, atol=1e-5 * moments.max()
    )
    np.testing.assert_array_equal(factor.importance, np.diagonal(moments))


def test_only_the_upper_triangle_is_read() -> None:
    moments = moments_of(rows_of(2, 300, 32))
    half = np.triu(moments) + np.tril(np.full((32, 32), 1e9, np.float32), -1)
    whole, of_half = factorize(moments), factorize(half)
    assert whole is not None
    assert of_half is not None
    assert np.array_equal(whole.moments, of_half.moments)


@pytest.mark.parametrize("n_rows", [1, 3, 40])
def test_singular_moments_have_a_factor(n_rows: int) -> None:
    moments = moments_of(rows_of(3, n_rows, 64))
    moments[:, 5] = moments[5] = 0
    factor = factorize(moments)
    assert factor is not None
    assert np.isfinite(factor.upper).all()


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_none(spoilt: float) -> None:
    moments = moments_of(rows_of(4, 100, 16))
    moments[2, 9] = spoilt
    assert factorize(moments) is None


def test_what_are_no_moments_has_none() -> None:
    n = 16
    assert factorize(np.zeros((n, n), np.float32)) is None
    assert factorize(-np.eye(n, dtype=np.float32)) is None
    wild = np.eye(n, dtype=np.float32)
    wild[0, 1] = 1e6  # no two numbers are so much alike
    assert factorize(wild) is None


@pytest.mark.filterwarnings("error")
def test_absurd_numbers_bear_nothing_out() -> None:
    """Finite ones, as a damaged file has them: no warning of numpy's reaches anyone."""
    moments = np.eye(4, dtype=np.float32) + np.float32(0.5)
    moments[0, 0] = 3e38
    factorize(moments)
    rows = np.full((8, 4), 1e38, np.float32)
    assert asked_shrinkage(np.eye(4, dtype=np.float32) + np.float32(0.5), rows) == 1.0


def test_the_held_out_rows_decide_how_far_moments_shrink() -> None:
    moments = moments_of(rows_of(5, 4000, 32))
    assert asked_shrinkage(moments, rows_of(6, 4000, 32), least=0.1) == pytest.approx(0.1)
    strangers = np.random.Generator(np.random.PCG64(1)).standard_normal((4000, 32)).astype(np.float32)
    assert asked_shrinkage(moments, strangers * np.sqrt(np.diagonal(moments)), least=0.1) > 0.9
    few = moments_of(rows_of(7, 12, 32, rank=32))
    assert 0.2 < asked_shrinkage(few, rows_of(8, 4000, 32, rank=32), least=0.1) < 0.9
    assert asked_shrinkage(moments, np.empty((0, 32), np.float32), least=0.3) == pytest.approx(0.3)
