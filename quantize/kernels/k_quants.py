"""The encoder of Q4_K, Q5_K and Q6_K rows: ggml's bytes to the last bit, several times as fast.

    rows [n, 256 k] f32 ──▶ search (scales of all sub-blocks) ──▶ F16 ──▶ packing ──▶ blocks
                  └── importance ──▶ weights

The stages are compiled by `compiler`. All other types are ggml's to encode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size
from models.llamacpp.quantization.quantizer import check_rows, check_written, quantize_rows
from quantize.kernels import importance, packing, search

F32 = np.float32
Rows = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

BLOCK: Final = 256
"""A block of a k-quant has this many numbers."""
Q4_K, Q5_K, Q6_K = (GGML_TYPES[name] for name in ("Q4_K", "Q5_K", "Q6_K"))

TYPES: Final = frozenset({Q4_K, Q5_K, Q6_K})
"""The kernels encode these ggml types."""


@dataclass(frozen=True)
class _Search:
    """The parameters of ggml's search for a type's scales."""

    n_max: Any
    r_min: Any
    r_delta: Any
    n_steps: int


_SEARCHES: Final = {
    Q4_K: _Search(F32(15), F32(-1), F32(0.1), 20),
    Q5_K: _Search(F32(31), F32(-0.5), F32(0.1), 15),
}
_WEIGHTED: Final = {
    Q4_K: _Search(F32(15), F32(-0.9), F32(0.05), 36),
    Q5_K: _Search(F32(31), F32(-0.9), F32(0.05), 36),
}


class Kernels:
    """The compiled kernels. They may be called from any thread; the GIL is released."""

    def __init__(self, compiled: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Compile each kernel by `compiled`, a decorator such as `numba.njit`."""
        self._search_scale_and_min = compiled(search.search_scale_and_min)
        self._search_scale = compiled(search.search_scale)
        self._weigh = compiled(importance.weigh)
        self._search_parts = compiled(importance.search_parts)
        self._pack_scale_and_min = compiled(packing.pack_scale_and_min)
        self._pack_scale = compiled(packing.pack_scale)

    def takes(self, ggml_type: int) -> bool:
        """True if the kernels encode the type."""
        return ggml_type in TYPES

    def quantize_rows(self, ggml_type: int, rows: Rows, out: Bytes, imatrix: Rows | None = None) -> int:
        """Encode as `models.llamacpp.quantization.quantizer.quantize_rows` does, for a type that it takes."""
        n_bytes = check_rows(ggml_type, rows, out, imatrix)
        blocks = rows.reshape(-1, BLOCK)
        encoded = out[:n_bytes].reshape(len(blocks), -1)
        with np.errstate(all="ignore"):
            encode = self._encode_q6 if ggml_type == Q6_K else partial(self._encode, ggml_type)
            done = encode(blocks, imatrix, encoded)
        if not done:  # numbers at the end of what F32 can tell apart
            return quantize_rows(ggml_type, rows, out, imatrix)
        check_written(ggml_type, rows, out, n_bytes)
        return n_bytes

    def _encode(self, ggml_type: int, blocks: Rows, imatrix: Rows | None, out: Bytes) -> bool:
        """Encode Q4_K or Q5_K: a scale and a minimum per sub-block of 32. False if ggml must do it."""
        n = 8 * len(blocks)
        how = (_SEARCHES if imatrix is None else _WEIGHTED)[ggml_type]
        weights, sums = np.empty((0 if imatrix is None else n, 32), F32), np.empty((len(blocks), 8), F32)
        if imatrix is not None:
            self._weigh(blocks, imatrix, weights.reshape(-1, BLOCK), sums.reshape(-1))
        values, found = np.empty((2, n), F32), np.empty((2, n), F32)
        regular = self._search_scale_and_min(
            blocks.reshape(n, 32),
            weights,
            *(how.n_max, how.r_min, how.r_delta, how.n_steps),
            *(values[0], values[1], found),
        )
        if not regular:
            return False
        if imatrix is None:
            largest = np.maximum(values.reshape(2, -1, 8).max(axis=2), F32(0))
            inverses = np.where(largest > 0, F32(63) / largest, F32(0))
            if not np.isfinite(inverses).all():
                return False
            whole = np.rint(np.repeat(inverses, 8, axis=1) * values).astype(np.int64)
            parts = np.minimum(whole & 255, 63).astype(np.uint8)
            half = (largest / F32(63)).astype(np.float16)
        else:
            parts, own = np.empty((2, n), np.uint8), np.empty((2, len(blocks)), F32)
            for side in range(2):
                self._search_parts(values[side].reshape(-1, 8), sums, own[side], parts[side].reshape(-1, 8))
            if ggml_type == Q5_K:
                parts = np.minimum(parts, np.uint8(63))
            half = own.astype(np.float16)
        out[:, :4] = np.ascontiguousarray(half.T).view(np.uint8)
        self._pack_scale_and_min(blocks, how.n_max, parts, found, half.astype(F32), out)
        return True

    def _encode_q6(self, blocks: Rows, imatrix: Rows | None, out: Bytes) -> bool:
        """Encode Q6_K: a scale per sub-block of 16. True: it is always done."""
        n = 16 * len(blocks)
        weights = np.empty((0, 16), F32)
        if imatrix is not None:
            weights = np.tile(imatrix, BLOCK * len(blocks) // len(imatrix)).reshape(n, 16)
        scales, found = np.empty(n, F32), np.empty(n, F32)
        self._search_scale(blocks.reshape(n, 16), weights, scales, found)
        by_block = scales.reshape(-1, 16)
        place = np.abs(by_block).argmax(axis=1)
        largest = np.take_along_axis(by_block, place[:, None], axis=1)[:, 0]
        inverse = np.where(np.abs(largest) < search.TINY, F32(0), F32(-128) / largest)
        half = np.where(inverse != 0, F32(1) / inverse, F32(0)).astype(np.float16)
        self._pack_scale(blocks, scales, found, half.astype(F32), inverse, out)
        out[:, -2:] = half[:, None].view(np.uint8)
        return True


def sample(ggml_type: int) -> Rows:
    """Return rows that have most of what weights have: wide and narrow, outliers, zeros, one sign."""
    random = np.random.Generator(np.random.PCG64(ggml_type))
    rows = random.standard_normal((64, 4 * BLOCK)).astype(F32)
    rows *= F32(10.0) ** random.integers(-8, 3, (64, 1)).astype(F32)
    rows[3::7] *= (random.random((9, 4 * BLOCK)) < 0.02).astype(F32) * F32(50) + F32(0.02)
    rows[5::9] = np.abs(rows[5::9])
    rows[::11, ::3] = 0
    rows[7, : 2 * BLOCK] = 0
    rows[8] = F32(0.25)
    return rows


def agree(made: Kernels) -> bool:
    """True if all bytes of a sample are ggml's."""
    for ggml_type, weighted in product(sorted(TYPES), (False, True)):
        rows = sample(ggml_type)
        imatrix = sample(ggml_type + 1)[0] ** 2 if weighted else None
        ours, theirs = (np.zeros(len(rows) * row_size(ggml_type, rows.shape[1]), np.uint8) for _ in range(2))
        made.quantize_rows(ggml_type, rows, ours, imatrix)
        quantize_rows(ggml_type, rows, theirs, imatrix)
        if not np.array_equal(ours, theirs):
            return False
    return True
