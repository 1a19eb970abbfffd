"""The check of one format's kernels against ggml's own, on random blocks: a few milliseconds.

Both go through ggml's CPU backend. The kernels may be no further from the exact product than ggml's, and a
column's product must be the same, bit for bit, whatever is computed beside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.llamacpp.kernel_library import KernelLibrary, Place
from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import type_name
from server.kernels.samples import SCALES_AT, random_columns, random_weights

SHAPES = ((256, 16), (512, 37), (768, 48))
"""Inputs and rows of the matrices that are tried: one panel, a last panel that isn't full, several."""
COLUMNS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 34)
"""So many columns are computed together. From 16 or 32 on K-types have other kernels."""
MIXTURE_SHAPE = (256, 37)
"""Inputs and rows of an expert in the mixture that is tried."""
N_EXPERTS, N_TOKENS = 5, 7
"""The mixture has so many experts, two of which compute each of so many tokens; one has none."""
MOST_ERROR = 1.05
"""The relative error may be this many times that of ggml's own kernels."""
ROUNDING = 1e-5
"""A relative error up to this is rounding of floats, whatever ggml's is."""

Floats = npt.NDArray[np.float32]
Exact = npt.NDArray[np.float64]


def find_fault(library: KernelLibrary, ggml_type: int) -> str | None:
    """Return how the kernels of the chosen set fail the check of a type; None if they pass."""
    if ggml_type not in SCALES_AT:
        return "there are no samples to check it with"
    for k, rows in SHAPES:
        weights = random_weights(ggml_type, k, rows)
        columns = random_columns(k, max(COLUMNS))
        ours = library.multiply(Place.PANELS, ggml_type, weights, columns)
        plain = library.multiply(Place.PLAIN, ggml_type, weights, columns)
        if ours is None or plain is None:
            return f"ggml refuses a matrix of {rows} rows of {k}"
        exact = exact_product(columns, dequantize_rows(ggml_type, weights, k))
        error, most = relative_error(ours, exact), relative_error(plain, exact)
        if not error <= max(MOST_ERROR * most, ROUNDING):  # NaN fails, too
            return f"its error is {error:.5f} at {rows} rows of {k}, ggml's {most:.5f}"
        for n in COLUMNS[:-1]:
            fewer = library.multiply(Place.PANELS, ggml_type, weights, columns[:n])
            if fewer is None or not np.array_equal(fewer, ours[:n]):
                return f"{n} columns give other bits than {max(COLUMNS)} at {rows} rows of {k}"
    return find_mixture_fault(library, ggml_type)


def find_mixture_fault(library: KernelLibrary, ggml_type: int) -> str | None:
    """Return how a mixture of experts fails; None if it gives the bits of its experts' matrices alone."""
    k, rows = MIXTURE_SHAPE
    experts = random_weights(ggml_type, k, N_EXPERTS * rows).reshape(N_EXPERTS, rows, -1)
    tokens = random_columns(k, N_TOKENS)
    ids = np.array([[(2 * t + u) % (N_EXPERTS - 1) for u in range(2)] for t in range(N_TOKENS)], np.int32)
    mixed = library.multiply_experts(Place.PANELS, ggml_type, experts, tokens[:, None], ids)
    if mixed is None:
        return "ggml refuses a mixture of experts"
    for expert in range(N_EXPERTS):
        alone = library.multiply(Place.PANELS, ggml_type, experts[expert], tokens)
        chosen, used = np.nonzero(ids == expert)
        if alone is None or not np.array_equal(mixed[chosen, used], alone[chosen]):
            return f"expert {expert} of a mixture gives other bits than its matrix alone"
    return None


def exact_product(columns: Floats, weights: Floats) -> npt.NDArray[np.float64]:
    """Return the product [columns, rows] in doubles, without BLAS, whose threads would spin beside us."""
    product: npt.NDArray[np.float64]
    product = np.einsum("ck,rk->cr", columns.astype(np.float64), weights.astype(np.float64))
    return product


def relative_error(product: Floats, exact: npt.NDArray[np.float64]) -> float:
    """Return the root mean square of the columns' relative errors: a large column hides no other."""
    squares = ((product - exact) ** 2).mean(axis=1) / (exact**2).mean(axis=1)
    return float(np.sqrt(squares.mean()))


def describe_fault(ggml_type: int, fault: str) -> str:
    """Return a line that names the type and what is wrong with its kernels."""
    return f"{type_name(ggml_type)} is left to llama.cpp: {fault}"
