"""Vectors' lengths and norms, and their cosines. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

NO_NORM, LARGEST, EUCLIDEAN = -1, 0, 2
"""llama-server's numbers of norms; 1 is the sum of magnitudes, a larger number p the p-norm."""
MOST_16_BITS = 32_760.0
"""The largest number of a vector that is divided by its largest: the numbers fit 16 bits."""


def shortened(vectors: Floats, dimensions: int | None) -> Floats:
    """Return the first numbers of each vector [n, width], which for a model trained so are a vector, too."""
    return vectors if dimensions is None else vectors[:, :dimensions]


def normalized(vectors: Floats, norm: int) -> Floats:
    """Return vectors [n, width] divided by their norm, computed in float64; a vector of zeros stays one."""
    if norm == NO_NORM:
        return vectors
    exact = vectors.astype(np.float64)
    if norm == LARGEST:
        sizes = np.abs(exact).max(axis=1, initial=0.0) / MOST_16_BITS
    elif norm == EUCLIDEAN:
        sizes = np.sqrt((exact * exact).sum(axis=1))
    else:
        sizes = (np.abs(exact) ** norm).sum(axis=1) ** (1.0 / norm)
    sizes[sizes == 0.0] = 1.0
    divided: Floats = (exact / sizes[:, None]).astype(np.float32)
    return divided


def cosines(vectors: Floats, pairs: tuple[tuple[int, int], ...]) -> Floats:
    """Return the cosine [n_pairs] of each pair of `vectors` [n, width]."""
    unit = normalized(vectors, EUCLIDEAN).astype(np.float64)
    places = np.asarray(pairs, np.intp)
    found: Floats = np.einsum("ij,ij->i", unit[places[:, 0]], unit[places[:, 1]]).astype(np.float32)
    return found
