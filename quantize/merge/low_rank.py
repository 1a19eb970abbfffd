"""Rows of a low-rank change: B·A of PEFT's LoRA, and the weight that DoRA makes of it.

    LoRA   W' = W + s·B·A                            https://arxiv.org/abs/2106.09685
    DoRA   W' = m / ‖W + s·B·A‖ · (W + s·B·A)        https://arxiv.org/abs/2402.09353, the norm per output

A product of few rows and one of many round differently in BLAS, so rows are made in tiles of one size that
lie at fixed places: a row's bytes don't depend on the rows that are read with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from quantize.checkpoint.source import TensorSource
from quantize.merge.adapter_folder import LowRankPair
from quantize.merge.chunks import Floats, as_float32

TILE_ROWS: Final = 32
"""The number of rows in a tile."""


@dataclass(frozen=True)
class Factors:
    """The factors of a change: `left @ right · strength`, in the order in which the weight is stored.

    `left` is [n_rows up to a tile, rank]. `magnitude` is DoRA's: one for each row of the weight, or for each
    column (`per_column`).
    """

    left: Floats
    right: Floats
    strength: float
    magnitude: Floats | None
    per_column: bool

    def rows(self, start: int, stop: int) -> Floats:
        """Return rows [start, stop) of the change."""
        first, last = start // TILE_ROWS, -(-stop // TILE_ROWS)
        out = np.empty(((last - first) * TILE_ROWS, self.right.shape[1]), np.float32)
        for tile in range(first, last):
            at = (tile - first) * TILE_ROWS
            left = self.left[tile * TILE_ROWS : (tile + 1) * TILE_ROWS]
            np.matmul(left, self.right, out=out[at : at + TILE_ROWS])
        out *= np.float32(self.strength)
        return out[start - first * TILE_ROWS : stop - first * TILE_ROWS]


def read_factors(source: TensorSource, pair: LowRankPair) -> Factors:
    """Read the pair's matrices, whole, in f32."""
    a, b = (as_float32(source.rows(name, 0, source.entries[name].shape[0])) for name in (pair.a, pair.b))
    left, right = (a.T, np.ascontiguousarray(b.T)) if pair.transposed else (b, a)
    padded = np.zeros((-(-len(left) // TILE_ROWS) * TILE_ROWS, left.shape[1]), np.float32)
    padded[: len(left)] = left
    magnitude = None
    if pair.magnitude is not None:
        entry = source.entries[pair.magnitude]
        rows = entry.shape[0] if entry.shape else 1
        magnitude = as_float32(source.rows(pair.magnitude, 0, rows)).reshape(-1)
    return Factors(padded, right, pair.strength, magnitude, pair.transposed)


def row_norms(rows: Floats) -> Floats:
    """Return ‖row‖ of each row, summed in f64."""
    norms: Floats = np.sqrt(np.sum(np.square(rows, dtype=np.float64), axis=1)).astype(np.float32)
    return norms


def column_norms(chunks: Iterable[Floats], n_columns: int) -> Floats:
    """Return ‖column‖ over all chunks of rows, summed in f64."""
    total = np.zeros(n_columns, np.float64)
    for chunk in chunks:
        total += np.sum(np.square(chunk, dtype=np.float64), axis=0)
    return np.sqrt(total).astype(np.float32)


def scale_to(rows: Floats, magnitude: Floats, norms: Floats) -> Floats:
    """Return `rows` times magnitude / norm, both broadcast to it."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a row of zeros: not finite, reported later
        return rows * (magnitude / norms)
