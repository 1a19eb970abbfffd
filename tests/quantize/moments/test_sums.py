from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from models.errors import QuantizationError
from quantize.control import Cancelled
from quantize.moments.inputs import Input
from quantize.moments.moments import InputName
from quantize.moments.sampling import Sampling
from quantize.moments.sums import InputSum, PassSums, sum_bytes
from tests.quantize.moments.synthetic import EXPERTS, Floats, activations, add, correlated


def square(one: InputSum) -> Floats:
    """The upper triangle as a matrix."""
    total = np.zeros((one.width, one.width), np.float32)
    for i, block in enumerate(one.blocks):
        total[512 * i : 512 * i + len(block), 512 * i :] = block
    return np.triu(total)


@pytest.mark.parametrize("width", [32, 512, 1100])
def test_the_sum_is_that_of_the_outer_products(width: int) -> None:
    one, exact = InputSum(width, 4, 8), np.zeros((width, width))
    for seed, n_rows in enumerate((512, 1, 300)):
        rows = correlated(seed, n_rows, width)
        add(one, rows)
        exact += rows.astype(np.float64).T @ rows
    assert one.n_rows == 813
    scale = np.sqrt(np.outer(exact.diagonal(), exact.diagonal()))
    assert (np.abs(square(one) - np.triu(exact)) <= 1e-6 * scale).all()
    assert np.allclose(one.variance(), exact.diagonal() / 813, rtol=1e-6)
    packed = np.concatenate(list(one.correlations()))
    above = np.divide(exact, scale, out=np.zeros_like(exact), where=scale > 0)[np.triu_indices(width, 1)]
    assert np.abs(packed - above).max() <= 2.5e-4 + 1e-6


def test_memory_is_told() -> None:
    sampling = Sampling(16, 512)
    of = Input("a.weight", ("a.weight",), 1100, 1, False, (0,))
    one = InputSum(1100, sampling.n_first, 256)
    assert sum_bytes(of, sampling) == sum(array.nbytes for array in one.arrays())
    assert sum_bytes(of, sampling) < 4 * 1100 * 1100 + 4 * (sampling.n_first + 256) * 1100


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_bit(threads: int) -> None:
    def run(n: int) -> bytes:
        of = Input("a.weight", ("a.weight",), 1100, 1, False, (0,))
        one = InputSum(1100, 0, 0)
        with ThreadPoolExecutor(n) as pool:
            adder = PassSums([of], {InputName("a.weight"): one}, Sampling(3, 512), pool, threading.Event())
            for window in range(3):
                adder.begin(window)
                adder.add(activations("a.weight", correlated(window, 512, 1100)))
        return square(one).tobytes()

    assert run(threads) == run(8)


def test_experts_have_their_own_rows() -> None:
    rows = correlated(0, 40, 64)
    experts = (np.arange(40) % 2).astype(np.int32)
    sums = {unit: InputSum(64, 0, 64) for unit in EXPERTS.units()}
    with ThreadPoolExecutor(2) as pool:
        adder = PassSums([EXPERTS], sums, Sampling(8, 512), pool, threading.Event())
        for window in (0, 7):
            adder.begin(window)
            adder.add(activations(EXPERTS.name, rows, matrix=experts, n_matrices=3))
    for matrix, one in enumerate(sums.values()):
        mine = rows[experts == matrix]
        assert one.n_rows == one.n_held_out == len(mine)
        assert np.array_equal(one.held_out[: len(mine)], mine)
        assert np.allclose(square(one), np.triu(mine.T @ mine), rtol=1e-5, atol=0)


def test_an_interrupted_pass_takes_nothing_twice() -> None:
    """Two inputs; the pass ends between them, and again behind both."""
    inputs = [Input(name, (name,), 64, 1, False, (0,)) for name in ("a.weight", "b.weight")]
    cancel = threading.Event()

    def run(sums: dict[InputName, InputSum], last: str | None) -> None:
        with ThreadPoolExecutor(1) as pool:
            adder = PassSums(inputs, sums, Sampling(16, 512), pool, cancel)
            for window in range(min(one.next[0] for one in sums.values()), 16):
                adder.begin(window)
                for one in inputs:
                    adder.add(activations(one.name, correlated(window, 512, 64)))
                    if (window, one.name) == (7, last):
                        cancel.set()

    def empty() -> dict[InputName, InputSum]:
        return {InputName(one.name): InputSum(64, 14, 256) for one in inputs}

    whole, broken = empty(), empty()
    run(whole, None)
    for last in ("a.weight", "b.weight"):
        with pytest.raises(Cancelled):
            run(broken, last)
        cancel.clear()
    run(broken, None)
    for name, one in whole.items():
        assert (one.n_rows, one.n_first, one.n_held_out) == (14 * 512, 14, 256)
        for ours, theirs in zip(one.arrays(), broken[name].arrays(), strict=True):
            assert ours.tobytes() == theirs.tobytes()


def test_rows_that_are_not_finite_are_refused() -> None:
    of = Input("a.weight", ("a.weight",), 64, 1, False, (0,))
    rows = correlated(0, 16, 64)
    rows[5, 5] = np.nan
    with ThreadPoolExecutor(1) as pool:
        adder = PassSums(
            [of], {InputName("a.weight"): InputSum(64, 0, 0)}, Sampling(1, 512), pool, threading.Event()
        )
        adder.begin(0)
        with pytest.raises(QuantizationError, match=r"a\.weight aren't finite"):
            adder.add(activations("a.weight", rows))
