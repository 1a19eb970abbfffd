"""The check of GELU's kernels against ggml's own: a millisecond.

A value gives the same bits wherever it stands in a row, and with any number of threads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.llamacpp.kernel_library import KernelLibrary
from server.kernels.check import MOST_ERROR, ROUNDING
from server.kernels.samples import SEED

Floats = npt.NDArray[np.float32]

SHAPE = (3, 1101)
"""Rows and values of a row: pieces that threads share, and a rest that fills no vector."""


def find_gelu_fault(library: KernelLibrary) -> str | None:
    """Return how GELU's kernels fail; None if they pass."""
    x = sample_values(SHAPE)
    gate = np.random.default_rng(SEED).standard_normal(SHAPE).astype(np.float32)
    for form in (None, gate):
        ours = library.gelu(x, form, is_ours=True, n_threads=2)
        plain = library.gelu(x, form, is_ours=False)
        if ours is None or plain is None:
            return "ggml couldn't compute it"
        exact = exact_gelu(x) * (1.0 if form is None else form.astype(np.float64))
        error, most = largest_error(ours, exact), largest_error(plain, exact)
        if not error <= max(MOST_ERROR * most, ROUNDING):  # NaN fails, too
            return f"its error is {error:.6f}, ggml's {most:.6f}"
        shifted = library.gelu(
            np.ascontiguousarray(x[:1, 1:]),
            None if form is None else np.ascontiguousarray(form[:1, 1:]),
            is_ours=True,
        )
        if shifted is None or not np.array_equal(shifted, ours[:1, 1:]):
            return "a value gives other bits at another place"
    return None


def sample_values(shape: tuple[int, int]) -> Floats:
    """Return values as a layer's, from tiny to beyond the curve's bend, in a random order."""
    random = np.random.default_rng(SEED)
    sizes = random.uniform(-8.0, 1.5, shape)
    return (random.choice([-1.0, 1.0], shape) * 10.0**sizes).astype(np.float32)


def exact_gelu(x: Floats) -> npt.NDArray[np.float64]:
    """Return GELU with a hyperbolic tangent (Hendrycks and Gimpel, 2016) in doubles."""
    wide = x.astype(np.float64)
    inner = np.sqrt(2.0 / np.pi) * (wide + 0.044715 * wide**3)
    # 1 + tanh(u) = 2 / (1 + e^(-2u)), which loses nothing where tanh is next to -1
    result: npt.NDArray[np.float64] = wide / (1.0 + np.exp(np.minimum(-2.0 * inner, 700.0)))
    return result


def largest_error(result: Floats, exact: npt.NDArray[np.float64]) -> float:
    """Return the largest error, relative to the largest size of the exact values."""
    return float(np.max(np.abs(result - exact)) / np.max(np.abs(exact)))
