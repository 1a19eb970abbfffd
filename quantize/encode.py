"""One block of rows: read, transformed, widened to f32, encoded for every output. Thread-safe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError, QuantizationError
from models.llamacpp.quantizer import quantize_rows, row_size
from quantize.checkpoint.source import Rows, TensorSource
from quantize.plan import PlannedTensor

# 4 MiB of f32 and a few of output: a block's overhead vanishes, and many can be in flight.
BLOCK_ELEMENTS: Final = 2**20

_BFLOAT16: Final = np.dtype(ml_dtypes.bfloat16)

Encoded = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Block:
    """Rows [start, stop) of a planned tensor; `ggml_types`: what each output wants them as."""

    tensor: PlannedTensor
    start: int
    stop: int
    ggml_types: tuple[int, ...]

    @property
    def n_source_bytes(self) -> int:
        """The share of the tensor's bytes; all blocks together have all of them."""
        total, rows = self.tensor.n_source_bytes, self.tensor.n_rows
        return total * self.stop // rows - total * self.start // rows

    @property
    def is_last(self) -> bool:
        return self.stop == self.tensor.n_rows


def blocks(
    tensor: PlannedTensor, ggml_types: Sequence[int], block_elements: int | None = None
) -> Iterator[Block]:
    """The tensor in blocks of about `block_elements` (BLOCK_ELEMENTS), whole rows and steps of its transform.

    A vector is one row of the output but as many rows of its source: it is one block.
    """
    step = tensor.transform.row_step if len(tensor.ne) > 1 else 1
    n_steps = max(1, (block_elements or BLOCK_ELEMENTS) // (tensor.n_per_row * step))
    for start in range(0, tensor.n_rows, n_steps * step):
        yield Block(tensor, start, min(start + n_steps * step, tensor.n_rows), tuple(ggml_types))


def encode(block: Block, source: TensorSource) -> list[Encoded]:
    """The block's bytes for each output, equal types sharing one array.

    Raises QuantizationError naming the tensor: NaN, infinite, or too large for the type; CheckpointError:
    unreadable.
    """
    tensor = block.tensor
    start, stop = (block.start, block.stop) if len(tensor.ne) > 1 else (0, tensor.n_per_row)
    rows = widen(tensor.transform.read(source, tensor.sources, start, stop)).reshape(-1, tensor.n_per_row)
    assert len(rows) == block.stop - block.start, f"{tensor.name}: the transform made {len(rows)} rows"
    encoded: dict[int, Encoded] = {}
    for ggml_type in dict.fromkeys(block.ggml_types):
        out = np.empty(len(rows) * row_size(ggml_type, tensor.n_per_row), np.uint8)
        try:
            quantize_rows(ggml_type, rows, out)
        except LlamaCppError as error:
            where = f"rows {block.start} to {block.stop - 1} of {tensor.name} ({', '.join(tensor.sources)})"
            raise QuantizationError(f"{where}: {error.message}") from error
        encoded[ggml_type] = out
    return [encoded[ggml_type] for ggml_type in block.ggml_types]


def widen(rows: Rows) -> npt.NDArray[np.float32]:
    """`rows` as f32 in C order, exactly; the GIL is released meanwhile, also for bfloat16."""
    if rows.dtype == _BFLOAT16:
        bits = np.ascontiguousarray(rows).view(np.uint16).astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    return np.ascontiguousarray(rows, dtype=np.float32)
