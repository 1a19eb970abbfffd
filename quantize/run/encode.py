"""The encoding of one block of rows: read, transformed, widened to f32, encoded for every output.

    source rows ──▶ transform ──▶ [ piece ──▶ f32 ──▶ type, type … ] ──▶ one array of bytes per type
                    a block: one read      a piece stays in a core's cache

An `Encoder` belongs to one thread and keeps its buffers; many encode side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError, QuantizationError
from models.llamacpp.quantization import quantizer
from models.llamacpp.quantization.ggml_types import is_quantized, row_size
from quantize.architectures.base.passthrough import BlockTransform
from quantize.calibration.calibration import Calibration
from quantize.calibration.rounding import PIECE_ROWS
from quantize.checkpoint.source import BlockSource, Rows, TensorSource
from quantize.plan.plan import PlannedTensor
from quantize.plan.second_scales import NVFP4, scaled

BLOCK_ELEMENTS: Final = 2**20
"""A block has about this many numbers: one read, and one write per type, large enough that asking for it
costs nothing.
"""

PIECE_ELEMENTS: Final = 2**17
"""A piece has about this many numbers: 512 KiB of f32, written and read again while they are in the
second-level cache.
"""

_BFLOAT16: Final = np.dtype(ml_dtypes.bfloat16)
_FLOAT32: Final = np.dtype(np.float32)

Encoded = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.float32]

QuantizeRows = Callable[[int, npt.NDArray[np.float32], Encoded, Weights | None], int]
"""A function like `models.llamacpp.quantization.quantizer.quantize_rows`."""


@dataclass(frozen=True, eq=False)
class Block:
    """Rows [start, stop) of a planned tensor; `ggml_types`: the type that each output has them in.

    `index`: the tensor's place in the plan. `weights` [n_matrices, n_per_row]: the importance of each column,
    for each of the matrices (experts) that the tensor's rows belong to. `calibration`: rounds them, where it
    knows the tensor's input and can choose the type's levels.
    """

    tensor: PlannedTensor
    start: int
    stop: int
    ggml_types: tuple[int, ...]
    index: int = 0
    weights: Weights | None = None
    calibration: Calibration | None = None

    @property
    def n_source_bytes(self) -> int:
        """The block's share of the tensor's bytes; all blocks together have all of them."""
        total, rows = self.tensor.n_source_bytes, self.tensor.n_rows
        return total * self.stop // rows - total * self.start // rows

    @property
    def is_last(self) -> bool:
        return self.stop == self.tensor.n_rows


def blocks(
    tensor: PlannedTensor,
    ggml_types: Sequence[int],
    block_elements: int | None = None,
    *,
    index: int = 0,
    weights: Weights | None = None,
    calibration: Calibration | None = None,
) -> Iterator[Block]:
    """Yield the tensor in blocks of about `block_elements` (BLOCK_ELEMENTS): whole rows, whole steps of its
    transform, and with a `calibration` whole pieces of its rounding.

    A vector is one row of the output but as many rows of its source: it is one block.
    """
    n_rows = rows_per_block(tensor, block_elements or BLOCK_ELEMENTS, is_calibrated=calibration is not None)
    for start in range(0, tensor.n_rows, n_rows):
        stop = min(start + n_rows, tensor.n_rows)
        yield Block(tensor, start, stop, tuple(ggml_types), index, weights, calibration)


def rows_per_block(tensor: PlannedTensor, block_elements: int, *, is_calibrated: bool = False) -> int:
    """Return how many of the tensor's rows are one block; the last block may have fewer.

    If it `is_calibrated`, they are pieces of PIECE_ROWS from each matrix's first row on: whole ones, or whole
    matrices where these have no whole number of them.
    """
    step = tensor.transform.row_step if len(tensor.ne) > 1 else 1
    if is_calibrated:
        per_matrix = tensor.ne[1]
        whole = per_matrix if per_matrix % PIECE_ROWS and len(tensor.ne) > 2 else PIECE_ROWS
        step = math.lcm(step, whole)
    return max(1, block_elements // (tensor.n_per_row * step)) * step


class Encoder:
    """Encodes blocks, one after the other. For one thread; what it returns is its own until the next call."""

    def __init__(self, quantize_rows: QuantizeRows = quantizer.quantize_rows) -> None:
        """Encode rows by `quantize_rows`: ggml's, or a `KernelCompiler`'s."""
        self._quantize_rows = quantize_rows
        self._piece = np.empty(0, np.float32)
        self._outputs: dict[int, Encoded] = {}

    def encode(self, block: Block, source: TensorSource) -> list[Encoded]:
        """Return the block's bytes for each output, equal types sharing one array.

        Raises QuantizationError naming the tensor: NaN, infinite, or too large for the type; CheckpointError:
        unreadable.
        """
        tensor = block.tensor
        start, stop = (block.start, block.stop) if len(tensor.ne) > 1 else (0, tensor.n_per_row)
        rows = tensor.transform.read(source, tensor.sources, start, stop).reshape(-1, tensor.n_per_row)
        assert len(rows) == block.stop - block.start, f"{tensor.name}: the transform made {len(rows)} rows"
        outputs = {kind: self._output(kind, rows) for kind in dict.fromkeys(block.ggml_types)}
        if rows.dtype == np.int64:  # a table of tokens, which is the same in every file
            for output in outputs.values():
                output[:] = rows.reshape(-1).view(np.uint8)
            return [outputs[kind] for kind in block.ggml_types]
        copied = _copy_blocks(block, source, outputs)
        for first, last, matrix in _pieces(block):
            piece = self._widened(rows[first:last])
            weights = None if block.weights is None else block.weights[matrix]
            for kind, output in outputs.items():
                if kind == copied:
                    continue
                n_bytes = row_size(kind, tensor.n_per_row)
                out = output[first * n_bytes : last * n_bytes]
                self._encode(block, first, piece, out, kind, weights, matrix)
        return [outputs[kind] for kind in block.ggml_types]

    def _encode(
        self,
        block: Block,
        first: int,
        piece: npt.NDArray[np.float32],
        out: Encoded,
        kind: int,
        weights: Weights | None,
        matrix: int,
    ) -> None:
        """Encode `piece`, the rows of the block from `first` on, which are of one matrix, into `out`."""
        calibration, factor = block.calibration, None
        if calibration is not None and calibration.takes(kind, block.tensor.name):
            factor = calibration.factor(block.tensor.name, block.tensor.ne, matrix)
        try:
            if calibration is not None and factor is not None:
                calibration.round_rows(kind, piece, factor, out)
            elif kind == NVFP4:
                self._quantize_rows(kind, scaled(piece), out, weights)
            else:
                self._quantize_rows(kind, piece, out, weights)
        except LlamaCppError as error:
            tensor, row = block.tensor, block.start + first
            where = f"rows {row} to {row + len(piece) - 1} of {tensor.name} ({', '.join(tensor.sources)})"
            raise QuantizationError(f"{where}: {error.message}") from error

    def _output(self, kind: int, rows: Rows) -> Encoded:
        n_bytes = len(rows) * row_size(kind, rows.shape[1])
        buffer = self._outputs.get(kind)
        if buffer is None or len(buffer) < n_bytes:
            buffer = self._outputs[kind] = np.empty(n_bytes, np.uint8)
        return buffer[:n_bytes]

    def _widened(self, rows: Rows) -> npt.NDArray[np.float32]:
        if rows.dtype == _FLOAT32 and rows.flags.c_contiguous:
            return rows
        if self._piece.size < rows.size:
            self._piece = np.empty(rows.size, np.float32)
        return widen(rows, self._piece[: rows.size].reshape(rows.shape))


def encode(block: Block, source: TensorSource) -> list[Encoded]:
    """Encode one block by ggml as `Encoder.encode` does; the arrays are the caller's."""
    return Encoder().encode(block, source)


def widen(rows: Rows, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
    """Return `rows` as f32 in C order, exactly, in `out` if given; the GIL is released, also for bfloat16."""
    made = np.empty(rows.shape, np.float32) if out is None else out
    if rows.dtype == _BFLOAT16:
        bits = made.view(np.uint32)
        np.copyto(bits, rows.view(np.uint16))
        bits <<= 16
    else:
        np.copyto(made, rows)
    return made


def _copy_blocks(block: Block, source: TensorSource, outputs: Mapping[int, Encoded]) -> int | None:
    """Copy the bytes of a tensor that is quantized already to the output that keeps its type; return that
    type.
    """
    tensor, transform = block.tensor, block.tensor.transform
    if not isinstance(transform, BlockTransform) or not isinstance(source, BlockSource):
        return None
    kind = transform.ggml_type
    if kind not in outputs or not is_quantized(kind) or source.ggml_type(tensor.sources[0]) != kind:
        return None
    raw = transform.read_raw(source, tensor.sources, block.start, block.stop)
    outputs[kind][:] = raw.reshape(-1)
    return kind


def _pieces(block: Block) -> Iterator[tuple[int, int, int]]:
    """Yield rows [first, last) of the block, counted in the block, each of one matrix, and its number."""
    tensor = block.tensor
    step = max(1, PIECE_ELEMENTS // tensor.n_per_row)
    if block.calibration is not None:
        step = PIECE_ROWS
    per_matrix = tensor.n_rows
    if block.calibration is not None:
        per_matrix = tensor.ne[1]
    elif block.weights is not None:
        per_matrix = tensor.n_rows // len(block.weights)
    row = block.start
    while row < block.stop:
        matrix = row // per_matrix
        last = min(row + step, block.stop, (matrix + 1) * per_matrix)
        yield row - block.start, last - block.start, matrix
        row = last


def source_itemsize(source: TensorSource, names: Sequence[str]) -> int:
    """Return the bytes of one number as it is read, the largest of the `names`."""
    dtypes: list[np.dtype[Any]] = [source.entries[name].dtype for name in names if name in source.entries]
    return max((dtype.itemsize for dtype in dtypes), default=4)
