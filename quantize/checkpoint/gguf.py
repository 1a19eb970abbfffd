"""A GGUF file, whole or in parts, as a TensorSource: its own tensors by their GGUF names.

F32, F16 and BF16 rows come as they are; quantized ones as F32, decoded by ggml itself, so that a file made
from them equals llama.cpp's. `raw_rows` gives the blocks undecoded, for tensors that keep their type.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError, LlamaCppError
from models.gguf.info import GGUFInfo, GGUFTensor, read_gguf_info
from models.llamacpp.quantization.dequantizer import can_dequantize, dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size
from quantize.checkpoint.file_bytes import FileBytes
from quantize.checkpoint.source import BlockSource, Rows, TensorEntry

_FLOAT_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


class GGUFSource(BlockSource):
    """The tensors of one GGUF model. Owns its files' descriptors until `close()`.

    Each tensor is a vector or a matrix `[n_rows, n_per_row]` here: further axes (experts) are more rows.
    """

    def __init__(self, info: GGUFInfo) -> None:
        """Open the files. Raises CheckpointError: unreadable, or a tensor of a type that has no floats."""
        self.info = info
        self._tensors = {tensor.name: tensor for tensor in info.tensors}
        self._entries = {tensor.name: _entry(tensor, info.path.name) for tensor in info.tensors}
        self._files: list[FileBytes] = []
        try:
            self._files.extend(map(FileBytes, info.paths))
        except BaseException:  # half open: nobody else closes it
            self.close()
            raise

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    def ggml_type(self, name: str) -> int:
        """Return the ggml type that the tensor has in the file."""
        return GGML_TYPES[self._tensors[name].type]

    def rows(self, name: str, start: int, stop: int) -> Rows:
        entry, tensor = self._entries[name], self._tensors[name]
        assert 0 <= start <= stop <= entry.shape[0], f"rows {start}..{stop} of {entry.shape[0]}"
        if len(entry.shape) == 1:  # one row in the file, whatever part of it is requested
            return self._decode(tensor, 0, 1)[0, start:stop]
        return self._decode(tensor, start, stop)

    def raw_rows(self, name: str, start: int, stop: int) -> npt.NDArray[np.uint8]:
        tensor = self._tensors[name]
        size = row_size(GGML_TYPES[tensor.type], tensor.shape[0])
        file = self._files[tensor.part]
        return file.read_array(tensor.offset + start * size, ((stop - start) * size,), np.dtype(np.uint8))

    def close(self) -> None:
        while self._files:
            self._files.pop().close()

    def _decode(self, tensor: GGUFTensor, start: int, stop: int) -> Rows:
        raw = self.raw_rows(tensor.name, start, stop)
        if tensor.type in _FLOAT_DTYPES:
            return raw.view(_FLOAT_DTYPES[tensor.type]).reshape(stop - start, tensor.shape[0])
        try:
            return dequantize_rows(GGML_TYPES[tensor.type], raw, tensor.shape[0])
        except LlamaCppError as error:
            raise CheckpointError(f"tensor {tensor.name}: {error.message}") from error


def open_gguf(path: Path) -> GGUFSource:
    """Open a model, by its file or its first part. Raises InvalidGGUF, CheckpointError."""
    info = read_gguf_info(path)
    if info.kind != "model" or not info.tensors:
        raise CheckpointError(
            f"{path.name} is no model with weights (its general.type is {info.kind}); give a model's GGUF"
        )
    return GGUFSource(info)


def used_axes(tensor: GGUFTensor) -> tuple[int, ...]:
    """Return the tensor's ne as ggml counts its axes: without ones at the end."""
    n = len(tensor.shape)
    while n > 1 and tensor.shape[n - 1] == 1:
        n -= 1
    return tensor.shape[:n]


def _entry(tensor: GGUFTensor, file_name: str) -> TensorEntry:
    n_per_row = tensor.shape[0]
    shape = (n_per_row,) if len(used_axes(tensor)) == 1 else (tensor.n_elements // n_per_row, n_per_row)
    if tensor.type not in _FLOAT_DTYPES and not can_dequantize(GGML_TYPES[tensor.type]):
        raise CheckpointError(
            f"tensor {tensor.name} of {file_name} is {tensor.type}, which can't be decoded to floats; "
            "give a file in F16 or Q8_0"
        )
    return TensorEntry(tensor.name, shape, _FLOAT_DTYPES.get(tensor.type, np.dtype(np.float32)))
