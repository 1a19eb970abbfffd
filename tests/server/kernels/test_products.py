"""Products that can be said exactly: whole numbers, powers of two, zeros; and shapes of blocks of 32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from models.llamacpp.kernel_library import KernelLibrary, Place
from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES, blck_size, type_name, type_size
from server.kernels.check import exact_product, relative_error
from server.kernels.samples import SCALES_AT, number_bytes, random_columns, random_weights

K, ROWS = 512, 37
MOST = 127
"""The largest whole number that activations are rounded to; a column that has it keeps its whole numbers."""
TYPES = sorted(SCALES_AT)
SPANS = [one for one in TYPES if blck_size(one) <= 32]
FLOATS = tuple(GGML_TYPES[name] for name in ("F16", "BF16", "F32"))
Floats = npt.NDArray[np.float32]


@pytest.fixture(params=TYPES, ids=type_name)
def one(request: pytest.FixtureRequest, library: KernelLibrary) -> int:
    """A type that the best set multiplies."""
    ggml_type = int(request.param)
    if not library.has_kernels(ggml_type):
        pytest.skip("the set leaves this type to ggml")
    return ggml_type


def product(library: KernelLibrary, one: int, weights: npt.NDArray[np.uint8], columns: Floats) -> Floats:
    found = library.multiply(Place.PANELS, one, weights, columns)
    assert found is not None
    return found


def whole_weights(one: int) -> npt.NDArray[np.uint8]:
    """Random blocks whose own scales are 1: each weight is a whole number (in floats: a small one)."""
    weights = random_weights(one, K, ROWS)
    blocks = weights.reshape(-1, type_size(one))
    random = np.random.default_rng(one)
    for at in SCALES_AT[one]:
        numbers = random.integers(-99, 100, len(blocks)) if one in FLOATS else np.ones(len(blocks))
        of_numbers = number_bytes(one, numbers.astype(np.float64))
        blocks[:, at : at + of_numbers.shape[1]] = of_numbers
    return blocks.reshape(ROWS, -1)


def whole_columns(weights: Floats) -> Iterator[Floats]:
    """Columns of whole numbers, 127 among each 32; the last give rows the largest sums there are."""
    random = np.random.default_rng(5)
    for _ in range(4):
        column = random.integers(-MOST, MOST + 1, K).astype(np.float32)
        column[::32] = MOST
        yield column
    yield np.full(K, MOST, np.float32)
    yield np.full(K, -MOST, np.float32)
    for row in (0, 8, 15, ROWS - 1):
        signs = np.where(weights[row] < 0, -1, 1).astype(np.float32)
        yield MOST * signs
        yield -MOST * signs


def test_whole_numbers_are_multiplied_without_an_error(library: KernelLibrary, one: int) -> None:
    weights = whole_weights(one)
    numbers = dequantize_rows(one, weights, K)
    assert np.array_equal(numbers, np.round(numbers))
    columns = np.array(list(whole_columns(numbers)))
    exact = exact_product(columns, numbers)
    most = exact_product(np.abs(columns), np.abs(numbers))
    assert np.all(np.abs(product(library, one, weights, columns) - exact) <= 1e-6 * most)


@pytest.mark.parametrize("n_times", [1, 12])
@pytest.mark.parametrize(("name", "least"), [("Q8_0", -128), ("Q6_K", -32)])
def test_the_smallest_weight_meets_the_largest_inputs(
    library: KernelLibrary, name: str, least: int, n_times: int
) -> None:
    one = GGML_TYPES[name]
    weights = whole_weights(one)
    blocks = weights.reshape(-1, type_size(one))
    if name == "Q8_0":
        blocks[:, 2:] = 0x80
    else:
        blocks[:, :192] = 0
        blocks[:, 192:208] = 1  # scales
    columns = np.array([np.full(K, MOST), np.full(K, -MOST), MOST * (-1.0) ** np.arange(K)], np.float32)
    found = product(library, one, weights, np.tile(columns, (n_times, 1)))
    expected = np.array([[least * MOST * K], [-least * MOST * K], [0]]) * np.ones((1, ROWS))
    assert np.array_equal(found, np.tile(expected, (n_times, 1)))


def test_many_columns_are_what_few_are(library: KernelLibrary, one: int) -> None:
    """For the largest sums, too, and for widths that leave tiles of every size."""
    weights = whole_weights(one)
    columns = np.array(list(whole_columns(dequantize_rows(one, weights, K))))
    few = product(library, one, weights, columns)
    for n in (32, 33, 34, 35, 64, 65, 98, 131):
        many = product(library, one, weights, np.resize(columns, (n, K)))
        assert np.array_equal(many, np.resize(few, (n, ROWS))), n


@pytest.mark.parametrize("power", [-100, -40, 40, 90])
def test_a_power_of_two_goes_through(library: KernelLibrary, one: int, power: int) -> None:
    weights, columns = random_weights(one, K, ROWS), random_columns(K, 5)
    factor = np.float32(2.0**power)
    expected = product(library, one, weights, columns) * factor
    assert np.array_equal(product(library, one, weights, columns * factor), expected)


def test_zeros_and_numbers_next_to_zero_give_them(library: KernelLibrary, one: int) -> None:
    weights = random_weights(one, K, ROWS)
    columns = np.zeros((3, K), np.float32)
    columns[1] = np.float32(1e-40)
    columns[2, 77] = 1.0
    found = product(library, one, weights, columns)
    assert not found[0].any()
    assert np.all(np.abs(found[1]) < 1e-35)
    exact = exact_product(columns[2:], dequantize_rows(one, weights, K))
    assert np.allclose(found[2:], exact, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("k", [32, 96, 2080])
def test_blocks_of_32_need_no_blocks_of_256(library: KernelLibrary, k: int) -> None:
    for one in filter(library.has_kernels, SPANS):
        weights, columns = random_weights(one, k, 50), random_columns(k, 19)
        exact = exact_product(columns, dequantize_rows(one, weights, k))
        found = product(library, one, weights, columns)
        plain = library.multiply(Place.PLAIN, one, weights, columns)
        assert plain is not None
        assert relative_error(found, exact) <= max(1.1 * relative_error(plain, exact), 1e-5)
        for n in range(1, 18):
            assert np.array_equal(product(library, one, weights, columns[:n]), found[:n]), (one, n)


def test_inputs_of_no_whole_blocks_are_ggmls(library: KernelLibrary) -> None:
    for one in filter(library.has_kernels, FLOATS):
        weights, columns = random_weights(one, 40, 16), random_columns(40, 2)
        assert library.multiply(Place.PANELS, one, weights, columns) is None


def test_floats_keep_what_inputs_in_halves_would_lose(library: KernelLibrary) -> None:
    for one in filter(library.has_kernels, FLOATS):
        weights, columns = random_weights(one, K, ROWS), random_columns(K, 9)
        exact = exact_product(columns, dequantize_rows(one, weights, K))
        assert relative_error(product(library, one, weights, columns), exact) < 1e-6
