"""GELU's kernels: their numbers over shapes and forms; and that their check can fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.llamacpp.kernel_library import KernelLibrary
from server.kernels.gelu_check import SHAPE, exact_gelu, find_gelu_fault, largest_error, sample_values


@pytest.fixture
def activating(library: KernelLibrary) -> Iterator[KernelLibrary]:
    if not library.has_gelu():
        pytest.skip("this CPU has no kernels for GELU")
    yield library
    library.use_gelu(is_used=False)


def ours(
    library: KernelLibrary,
    x: npt.NDArray[np.float32],
    gate: npt.NDArray[np.float32] | None = None,
    halves: Literal["none", "gate last", "gate first"] = "none",
    n_threads: int = 1,
) -> npt.NDArray[np.float32]:
    result = library.gelu(x, gate, is_ours=True, halves=halves, n_threads=n_threads)
    assert result is not None
    return result


def test_they_pass_their_check(activating: KernelLibrary) -> None:
    assert find_gelu_fault(activating) is None


class _Spoiled:
    """A library whose GELU is wrong by a factor, from so many values of a row on."""

    def __init__(self, library: KernelLibrary, factor: float, n_least: int) -> None:
        self._library, self._factor, self._n_least = library, factor, n_least

    def gelu(self, x: npt.NDArray[np.float32], *args: Any, is_ours: bool, **kwargs: Any) -> Any:
        result = self._library.gelu(x, *args, is_ours=is_ours, **kwargs)
        assert result is not None
        return result * np.float32(self._factor) if is_ours and x.shape[1] >= self._n_least else result


@pytest.mark.parametrize(
    ("factor", "n_least", "fault"),
    [(1.01, 0, "its error is"), (np.nan, 0, "its error is"), (1 + 1e-6, SHAPE[1], "at another place")],
)
def test_a_fault_is_found(activating: KernelLibrary, factor: float, n_least: int, fault: str) -> None:
    found = find_gelu_fault(_Spoiled(activating, factor, n_least))  # type: ignore[arg-type]
    assert found is not None
    assert fault in found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 5), st.integers(1, 1300), st.integers(1, 3), st.booleans())
def test_a_value_has_the_same_bits_anywhere(
    activating: KernelLibrary, rows: int, n: int, n_threads: int, is_gated: bool
) -> None:
    x = sample_values((rows, n))
    gate = sample_values((rows, n))[::-1] if is_gated else None
    result = ours(activating, x, gate, n_threads=n_threads)
    exact = exact_gelu(x) * (1.0 if gate is None else gate.astype(np.float64))
    np.testing.assert_allclose(result, exact, rtol=1e-5, atol=1e-20)
    last = ours(activating, x[-1:, n // 2 :], None if gate is None else gate[-1:, n // 2 :])
    assert np.array_equal(last, result[-1:, n // 2 :])


def test_halves_of_rows_are_a_value_and_its_gate(activating: KernelLibrary) -> None:
    x, gate = sample_values((3, 70)), sample_values((3, 70))[::-1]
    expected = ours(activating, x, gate)
    assert np.array_equal(ours(activating, np.hstack([x, gate]), halves="gate last"), expected)
    assert np.array_equal(ours(activating, np.hstack([gate, x]), halves="gate first"), expected)
    for halves, row in (("gate last", [x, gate]), ("gate first", [gate, x])):
        plain = activating.gelu(np.hstack(row), is_ours=False, halves=halves)  # type: ignore[arg-type]
        assert plain is not None
        assert largest_error(plain, expected.astype(np.float64)) < 1e-3


def test_what_is_no_number_spoils_itself_alone(activating: KernelLibrary) -> None:
    x = np.array([[1.0, np.nan, 2.0, np.inf, -np.inf, 3e38, -3e38, 0.0]], np.float32)
    result = ours(activating, x)
    one, two = exact_gelu(np.array([1.0, 2.0], np.float32))
    expected = [one, np.nan, two]
    np.testing.assert_allclose(result[0, :3], expected, rtol=1e-6)
    assert result[0, 3:].tolist() == [np.inf, 0.0, np.float32(3e38), 0.0, 0.0]


def test_it_is_more_exact_than_ggmls_table(activating: KernelLibrary) -> None:
    x = sample_values((2, 900))
    plain = activating.gelu(x, is_ours=False)
    assert plain is not None
    assert largest_error(ours(activating, x), exact_gelu(x)) < largest_error(plain, exact_gelu(x)) / 100
