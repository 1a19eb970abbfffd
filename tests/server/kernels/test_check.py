"""The kernels' numbers: every format and every set of this CPU, over shapes; and that the check can fail."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.llamacpp.kernel_library import KernelLibrary, Place
from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import blck_size
from server.kernels.check import (
    COLUMNS,
    MOST_ERROR,
    ROUNDING,
    exact_product,
    find_fault,
    relative_error,
)
from server.kernels.samples import SCALES_AT, random_columns, random_weights

BLOCKS = st.integers(1, 6)
ROWS = st.integers(1, 70)
WIDTHS = st.sampled_from([1, 2, 3, 5, 8, 9, 12, 16, 17, 31, 64, 100, 257, 600])
ENOUGH_PRODUCTS = 64
"""The errors of fewer products are chance, and aren't compared."""


def present_sets(library: KernelLibrary) -> list[str]:
    """The sets of the library that this CPU has."""
    return [name for name in library.sets() if library.choose(name) == name]


def test_every_format_has_samples(library: KernelLibrary) -> None:
    assert set(library.formats()) <= set(SCALES_AT)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n_blocks=BLOCKS, rows=ROWS)
def test_panels_hold_every_bit_of_the_blocks(library: KernelLibrary, n_blocks: int, rows: int) -> None:
    for one in library.formats():
        k = n_blocks * max(blck_size(one), 32)
        weights = random_weights(one, k, rows)
        assert np.array_equal(library.round_trip(one, weights, k), weights)


def test_every_set_passes_its_check(library: KernelLibrary) -> None:
    checked = 0
    for name in present_sets(library):
        library.choose(name)
        for one in filter(library.has_kernels, library.formats()):
            assert find_fault(library, one) is None, (name, one)
            checked += 1
    assert checked


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n_blocks=BLOCKS, rows=ROWS, n=WIDTHS)
def test_any_shape_is_as_exact_as_ggmls(library: KernelLibrary, n_blocks: int, rows: int, n: int) -> None:
    for name in present_sets(library):
        library.choose(name)
        for one in filter(library.has_kernels, library.formats()):
            k = n_blocks * 256
            weights, columns = random_weights(one, k, rows), random_columns(k, n)
            ours = library.multiply(Place.PANELS, one, weights, columns)
            plain = library.multiply(Place.PLAIN, one, weights, columns)
            assert ours is not None
            assert plain is not None
            exact = exact_product(columns, dequantize_rows(one, weights, k))
            if exact.size >= ENOUGH_PRODUCTS:
                assert relative_error(ours, exact) <= max(1.2 * relative_error(plain, exact), ROUNDING)
            for first, last in ((0, 1), (n // 2, n), (max(0, n - 5), n)):
                part = library.multiply(Place.PANELS, one, weights, columns[first:last])
                assert part is not None
                assert np.array_equal(part, ours[first:last]), (name, one, first, last)


@pytest.mark.parametrize("n_threads", [2, 3, 4])
def test_threads_share_the_work_and_change_nothing(library: KernelLibrary, n_threads: int) -> None:
    for one in filter(library.has_kernels, library.formats()):
        weights = random_weights(one, 512, 700)
        for n in (1, 7, 33):
            columns = random_columns(512, n)
            alone = library.multiply(Place.PANELS, one, weights, columns)
            together = library.multiply(Place.PANELS, one, weights, columns, n_threads)
            assert alone is not None
            assert together is not None
            assert np.array_equal(alone, together)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_input_that_is_no_number_spoils_its_column_alone(library: KernelLibrary, bad: float) -> None:
    for one in filter(library.has_kernels, library.formats()):
        weights, columns = random_weights(one, 512, 20), random_columns(512, 3)
        good = library.multiply(Place.PANELS, one, weights, columns)
        columns[1, 300] = bad
        spoiled = library.multiply(Place.PANELS, one, weights, columns)
        assert good is not None
        assert spoiled is not None
        assert np.array_equal(spoiled[::2], good[::2])
        assert not np.isfinite(spoiled[1]).any()


class WrongKernels(KernelLibrary):
    """The real library, whose products in panels are spoiled on their way out."""

    def __init__(self, real: KernelLibrary, at: int, factor: float, from_columns: int) -> None:
        self._handle = real._handle
        self.at, self.factor, self.from_columns = at, factor, from_columns

    def multiply(
        self,
        place: Place,
        ggml_type: int,
        weights: npt.NDArray[np.uint8],
        x: npt.NDArray[np.float32],
        n_threads: int = 1,
    ) -> npt.NDArray[np.float32] | None:
        product = super().multiply(place, ggml_type, weights, x, n_threads)
        if product is not None and place is Place.PANELS and len(x) >= self.from_columns:
            product[0, self.at] *= np.float32(self.factor)
        return product


@pytest.mark.parametrize("at", [0, 15])
@pytest.mark.parametrize("factor", [1.5, -1.0, float("nan")])
def test_a_wrong_number_is_found(library: KernelLibrary, at: int, factor: float) -> None:
    one = next(filter(library.has_kernels, library.formats()))
    fault = find_fault(WrongKernels(library, at, factor, 1), one)
    assert fault is not None
    assert "its error is" in fault


def test_a_bit_that_depends_on_the_neighbours_is_found(library: KernelLibrary) -> None:
    one = next(filter(library.has_kernels, library.formats()))
    last_bit = 1 + 2**-22
    for n in COLUMNS[1:]:
        fault = find_fault(WrongKernels(library, 3, last_bit, n), one)
        assert fault is not None, n
        assert "other bits" in fault


def test_a_wrong_expert_is_found(library: KernelLibrary) -> None:
    class WrongExperts(WrongKernels):
        def multiply_experts(
            self,
            place: Place,
            ggml_type: int,
            weights: npt.NDArray[np.uint8],
            x: npt.NDArray[np.float32],
            ids: npt.NDArray[np.int32],
        ) -> npt.NDArray[np.float32] | None:
            return super().multiply_experts(place, ggml_type, weights, x, np.roll(ids, 1, axis=1))

    one = next(filter(library.has_kernels, library.formats()))
    fault = find_fault(WrongExperts(library, 0, 1.0, 1), one)
    assert fault == "expert 0 of a mixture gives other bits than its matrix alone"


@pytest.mark.parametrize("n_inputs", [1, 3])
@pytest.mark.parametrize(("n_experts", "n"), [(9, 40), (4, 55)])
def test_a_mixture_is_its_experts_matrices(
    library: KernelLibrary, n_experts: int, n: int, n_inputs: int
) -> None:
    """For inputs that a token's experts share, and for one of each; for experts of few tokens and of many."""
    k, rows, n_used = 512, 50, 3
    random = np.random.default_rng(7)
    ids = np.stack([random.permutation(n_experts)[:n_used] for _ in range(n)]).astype(np.int32)
    for one in filter(library.has_kernels, library.formats()):
        experts = random_weights(one, k, n_experts * rows).reshape(n_experts, rows, -1)
        x = random_columns(k, n * n_inputs).reshape(n, n_inputs, k)
        mixed = library.multiply_experts(Place.PANELS, one, experts, x, ids)
        assert mixed is not None
        for t, u in itertools.product(range(n), range(n_used)):
            alone = library.multiply(Place.PANELS, one, experts[ids[t, u]], x[t, u % n_inputs][None])
            assert alone is not None
            assert np.array_equal(mixed[t, u], alone[0])


def test_a_format_that_ggml_is_refused_and_one_without_samples_fail(library: KernelLibrary) -> None:
    one = next(filter(library.has_kernels, library.formats()))
    library.use(one, is_used=False)
    assert find_fault(library, one) == "ggml refuses a matrix of 16 rows of 256"
    assert find_fault(library, 9999) == "there are no samples to check it with"


def test_samples_have_every_byte(library: KernelLibrary) -> None:
    for one, k in itertools.product(library.formats(), (512,)):
        weights = random_weights(one, k, 64)
        assert len(np.unique(weights)) == 256
        assert np.isfinite(dequantize_rows(one, weights, k)).all()
    assert MOST_ERROR < 1.1
