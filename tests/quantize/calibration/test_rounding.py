"""Compensated rounding never loses more than plain rounding, and gives the same bytes however it is cut."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import LlamaCppError
from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size
from models.llamacpp.quantization.quantizer import quantize_rows
from models.paths import Paths
from quantize.calibration.factor import Factor, factorize
from quantize.calibration.rounding import NORMAL_EFFORT, PIECE_ROWS, Effort, Rounder
from quantize.kernels.feedback import compile_feedback
from tests.quantize.calibration.test_factor import moments_of, rows_of
from tests.quantize.calibration.test_forms import TYPES

pytestmark = pytest.mark.model

Floats = npt.NDArray[np.float32]
N = 512


@pytest.fixture(scope="module")
def rounder() -> Rounder:
    return Rounder(quantize_rows, compile_feedback(Paths.from_environment().compiled_dir), NORMAL_EFFORT)


@pytest.fixture(scope="module")
def factor() -> Factor:
    made = factorize(moments_of(rows_of(1, 3000, N)))
    assert made is not None
    return made


def weights(seed: int, n_rows: int = 40) -> Floats:
    random = np.random.Generator(np.random.PCG64(seed))
    drawn = (random.standard_normal((n_rows, N)) * np.exp(random.standard_normal((n_rows, 1)))).astype(
        np.float32
    )
    drawn[1] = 0
    drawn[2, 7] = 1000  # far out of line
    return drawn


def rounded(rounder: Rounder, kind: int, rows: Floats, factor: Factor) -> npt.NDArray[np.uint8]:
    out = np.zeros(len(rows) * row_size(kind, N), np.uint8)
    rounder.round_rows(kind, rows, factor, out)
    return out


def plain(kind: int, rows: Floats, factor: Factor) -> npt.NDArray[np.uint8]:
    out = np.zeros(len(rows) * row_size(kind, N), np.uint8)
    quantize_rows(kind, rows, out, factor.importance)
    return out


def losses(kind: int, rows: Floats, raw: npt.NDArray[np.uint8], moments: Floats) -> npt.NDArray[np.float64]:
    errors = (rows - dequantize_rows(kind, raw, N)).astype(np.float64)
    product: npt.NDArray[np.float64] = np.einsum("ij,jk,ik->i", errors, moments.astype(np.float64), errors)
    return product


@pytest.mark.parametrize("name", TYPES)
def test_no_row_loses_more_than_plainly_rounded(rounder: Rounder, factor: Factor, name: str) -> None:
    kind, rows = GGML_TYPES[name], weights(3)
    ours = losses(kind, rows, rounded(rounder, kind, rows, factor), factor.moments)
    theirs = losses(kind, rows, plain(kind, rows, factor), factor.moments)
    assert (ours <= theirs * (1 + 1e-3) + 1e-9).all()
    assert ours.sum() < 0.75 * theirs.sum()


@pytest.mark.parametrize("n_rows", [1, 2, 30])
def test_few_rows_of_moments_do_no_harm(rounder: Rounder, n_rows: int) -> None:
    kind, rows = GGML_TYPES["Q4_K"], weights(4)
    poor = factorize(moments_of(rows_of(n_rows, n_rows, N)))
    assert poor is not None
    ours = losses(kind, rows, rounded(rounder, kind, rows, poor), poor.moments)
    assert (ours <= losses(kind, rows, plain(kind, rows, poor), poor.moments) * (1 + 1e-3) + 1e-9).all()


def test_more_effort_loses_less(rounder: Rounder, factor: Factor) -> None:
    kind, rows = GGML_TYPES["Q4_K"], weights(5)
    least = Rounder(rounder.quantize_rows, rounder.feedback, Effort(("variance",), 0))
    total = [
        losses(kind, rows, rounded(one, kind, rows, factor), factor.moments).sum() for one in (least, rounder)
    ]
    assert total[1] < total[0]


@pytest.mark.parametrize("name", ["Q4_K", "Q6_K", "IQ4_XS", "Q5_0"])
def test_pieces_are_rounded_alike_wherever_they_stand(rounder: Rounder, factor: Factor, name: str) -> None:
    kind, rows = GGML_TYPES[name], weights(6, 2 * PIECE_ROWS + 9)
    whole = rounded(rounder, kind, rows, factor).reshape(len(rows), -1)
    for start, stop in ((0, PIECE_ROWS), (PIECE_ROWS, 2 * PIECE_ROWS), (2 * PIECE_ROWS, len(rows))):
        alone = rounded(rounder, kind, rows[start:stop].copy(), factor).reshape(stop - start, -1)
        assert np.array_equal(alone, whole[start:stop])


def test_what_loses_on_held_out_rows_is_rounded_plainly(rounder: Rounder, factor: Factor) -> None:
    kind, rows = GGML_TYPES["Q4_K"], weights(7)
    random = np.random.Generator(np.random.PCG64(8))
    strangers = (random.standard_normal((600, N)) * np.sqrt(np.diagonal(factor.moments))).astype(np.float32)
    wary = Factor(factor.moments, factor.upper, factor.importance, strangers)
    assert np.array_equal(rounded(rounder, kind, rows, wary), plain(kind, rows, wary))
    sure = Factor(factor.moments, factor.upper, factor.importance, rows_of(9, 600, N))
    assert np.array_equal(rounded(rounder, kind, rows, sure), rounded(rounder, kind, rows, factor))


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused(rounder: Rounder, factor: Factor, spoilt: float) -> None:
    rows = weights(10)
    rows[4, 300] = spoilt
    with pytest.raises(LlamaCppError):
        rounded(rounder, GGML_TYPES["Q4_K"], rows, factor)
