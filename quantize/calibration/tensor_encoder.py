"""`TensorEncoder`: a whole tensor as a pass would encode it, decoded again, and what it loses by that.

Trials are made of it: a tensor's candidates when types are chosen for a size, and its plain encoding beside a
calibrated file's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from models.closing import Closing
from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import row_size
from models.llamacpp.quantization.quantizer import quantize_rows
from quantize.calibration.factor import Factor
from quantize.calibration.rounding import PIECE_ROWS, QuantizeRows
from quantize.moments.blas import one_blas_thread
from quantize.plan.types import TypeChoice

SAMPLE_ROWS: Final = 2 * PIECE_ROWS
"""A tensor's loss by calibrated rounding, which takes about twenty times as long as plain encoding, is that
of so many of its rows, evenly spaced; of an expert's PIECE_ROWS.
"""

Floats = npt.NDArray[np.float32]


def kind_of(name: str) -> str:
    """Return what a tensor is in each layer, such as `attn_q.weight`: its name without the layer's number."""
    return re.sub(r"^blk\.\d+\.", "", name)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor's name, its shape `ne` (row length first) and its rows [n_rows, n_per_row] f32."""

    name: str
    ne: tuple[int, ...]
    rows: Floats

    @property
    def n_matrices(self) -> int:
        """The number of its matrices: experts."""
        return math.prod(self.ne[2:])

    def matrix(self, number: int) -> Floats:
        """Return the rows of one matrix."""
        per_matrix = len(self.rows) // self.n_matrices
        return self.rows[number * per_matrix : (number + 1) * per_matrix]


class TensorEncoder(Closing):
    """Encodes by a choice's importance and calibration, on several threads. For one caller at a time."""

    def __init__(
        self, choice: TypeChoice, *, threads: int, quantize_rows: QuantizeRows = quantize_rows
    ) -> None:
        """Encode plainly by `quantize_rows`, ggml's or a `KernelCompiler`'s."""
        self._choice = choice
        self._quantize_rows = quantize_rows
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="trial")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def values(self, tensor: Tensor, ggml_type: int) -> Floats:
        """Return the tensor's rows as a pass would have them: calibrated where it can.

        Raises LlamaCppError: the type needs importance; QuantizationError: moments of another model.
        """
        if not self._takes(tensor, ggml_type):
            return self.plain_values(tensor, ggml_type)
        out = replace(tensor, rows=np.empty_like(tensor.rows))
        with one_blas_thread():
            for matrix in range(tensor.n_matrices):
                self._write(tensor, out, matrix, ggml_type, self._factor(tensor, matrix))
        return out.rows

    def plain_values(self, tensor: Tensor, ggml_type: int) -> Floats:
        """Return the tensor's rows as a pass without calibration, but by the same importance, has them."""
        out = replace(tensor, rows=np.empty_like(tensor.rows))
        for matrix in range(tensor.n_matrices):
            self._write(tensor, out, matrix, ggml_type, None)
        return out.rows

    def losses(self, tensor: Tensor, ggml_types: Sequence[int]) -> list[float]:
        """Return the weighted sum of squared errors of the whole tensor, for each type.

        Errors E weigh by the input's moments H, as tr(E H Eᵀ), where it has a factor, and are those of
        SAMPLE_ROWS rows times what these are of all; else each column's by its importance.
        """
        with one_blas_thread():
            of_matrices = [self._losses(tensor, matrix, ggml_types) for matrix in range(tensor.n_matrices)]
        return [sum(losses) for losses in zip(*of_matrices, strict=True)]

    def _losses(self, tensor: Tensor, matrix: int, ggml_types: Sequence[int]) -> list[float]:
        all_rows, weights = tensor.matrix(matrix), self._weights(tensor, matrix)
        factor, rows = self._factor(tensor, matrix), all_rows
        if factor is not None:
            rows = rows[_evenly(len(rows), SAMPLE_ROWS if tensor.n_matrices == 1 else PIECE_ROWS)]

        def loss(work: tuple[int, int]) -> float:
            ggml_type, start = work
            used = factor if self._takes(tensor, ggml_type) else None
            piece = _Piece(rows[start : start + PIECE_ROWS], weights, used)
            errors = self._encoded(piece, ggml_type) - piece.rows
            if factor is not None:
                return float(np.square(errors @ factor.upper, dtype=np.float64).sum())
            squares = np.square(errors).sum(axis=0, dtype=np.float64)
            return float(squares.sum() if weights is None else squares @ weights)

        starts = range(0, len(rows), PIECE_ROWS)
        parts = list(self._pool.map(loss, [(kind, start) for kind in ggml_types for start in starts]))
        sums = [sum(parts[first : first + len(starts)]) for first in range(0, len(parts), len(starts))]
        return [total * len(all_rows) / len(rows) for total in sums]

    def _write(self, tensor: Tensor, out: Tensor, matrix: int, ggml_type: int, factor: Factor | None) -> None:
        """Put one matrix as a type has it into `out`, in the pieces in which a pass rounds it."""
        rows, made, weights = tensor.matrix(matrix), out.matrix(matrix), self._weights(tensor, matrix)

        def write(start: int) -> None:
            part = slice(start, start + PIECE_ROWS)
            made[part] = self._encoded(_Piece(rows[part], weights, factor), ggml_type)

        for _ in self._pool.map(write, range(0, len(rows), PIECE_ROWS)):
            pass

    def _encoded(self, piece: _Piece, ggml_type: int) -> Floats:
        """Return the piece's rows as the type has them."""
        n_per_row = piece.rows.shape[1]
        out = np.empty(len(piece.rows) * row_size(ggml_type, n_per_row), np.uint8)
        if piece.factor is not None:
            calibration = self._choice.calibration
            assert calibration is not None, "a factor is a calibration's"
            calibration.round_rows(ggml_type, piece.rows, piece.factor, out)
        else:
            self._quantize_rows(ggml_type, np.ascontiguousarray(piece.rows), out, piece.weights)
        return dequantize_rows(ggml_type, out, n_per_row)

    def _weights(self, tensor: Tensor, matrix: int) -> Floats | None:
        imatrix = self._choice.imatrix
        weights = None if imatrix is None else imatrix.weights_for(tensor.name, tensor.ne)
        return None if weights is None else np.ascontiguousarray(weights[matrix])

    def _factor(self, tensor: Tensor, matrix: int) -> Factor | None:
        calibration = self._choice.calibration
        return None if calibration is None else calibration.factor(tensor.name, tensor.ne, matrix)

    def _takes(self, tensor: Tensor, ggml_type: int) -> bool:
        calibration = self._choice.calibration
        return calibration is not None and calibration.takes(ggml_type, tensor.name)


@dataclass(frozen=True, eq=False)
class _Piece:
    """Rows of one matrix; how much their columns weigh, and the factor to round them by, if any."""

    rows: Floats
    weights: Floats | None
    factor: Factor | None = None


def _evenly(n: int, most: int) -> npt.NDArray[np.int64]:
    """Return at most `most` numbers below n, evenly spaced."""
    count = min(n, most)
    return np.arange(count, dtype=np.int64) * n // count
