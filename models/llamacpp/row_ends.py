"""The embedding that ends each row of an image in Pixtral, which llama.cpp may leave undefined.

libmtmd adds that embedding, times one, to memory times zero that nothing has written. Where the memory
held what is no number, the sum is none either. All other rows are computed, so those that are not finite
can be told apart, and the right values are in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.gguf.reader import read_gguf_file
from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES

Floats = npt.NDArray[np.float32]

TENSOR: Final = "v.token_embd.img_break"


def read_row_end(path: Path) -> Floats | None:
    """Return the embedding [width] that the projector's file at `path` has for the end of a row, if any."""
    for tensor in read_gguf_file(path).tensors:
        if tensor.name == TENSOR:
            with path.open("rb") as file:
                file.seek(tensor.offset)
                raw = np.frombuffer(file.read(tensor.nbytes), np.uint8).copy()
            row: Floats = dequantize_rows(GGML_TYPES[tensor.type], raw, tensor.n_elements)[0]
            return row
    return None


def restore_row_ends(rows: Floats, row_end: Floats | None) -> None:
    """Put `row_end` [width] in the place of each of `rows` [n, width] that should be it and isn't finite.

    Raises LlamaCppError if another row isn't finite: the projector is broken, or its numbers are too large.
    """
    is_finite = np.isfinite(rows)
    for at in np.flatnonzero(~is_finite.all(axis=1)):
        known = is_finite[at]
        if row_end is None or not np.array_equal(rows[at, known], row_end[known]):
            raise LlamaCppError("an image's embeddings aren't finite; the projector's file is broken")
        rows[at] = row_end
