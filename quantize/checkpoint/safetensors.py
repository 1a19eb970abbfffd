"""safetensors files as a TensorSource: one file, or several shards.

Layout (https://github.com/huggingface/safetensors#format): u64 header length, JSON header, data. The header
comes from strangers, so nothing in it is believed before it fits the file: sizes, offsets, overlaps, shapes
against bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

import ml_dtypes
import numpy as np

from models.errors import CheckpointError
from quantize.checkpoint.file_bytes import ByteSource
from quantize.checkpoint.json_file import parse_json
from quantize.checkpoint.shards import ShardedSource
from quantize.checkpoint.source import Rows, TensorEntry

SUFFIX: Final = ".safetensors"
"""The ending of a file's name."""

HEADER_LIMIT_BYTES: Final = 100 * 2**20
"""A header has at most this many bytes by the specification."""

# Every dtype of the format, so that any header can be measured; not all are weights that can be used.
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


class SafetensorsSource(ShardedSource[int]):
    """One or several safetensors files. The place of a tensor is the offset of its bytes in the file."""

    @property
    def extents(self) -> Mapping[str, tuple[str, int, int]]:
        """The file that holds each tensor, and the offsets at which it begins and ends there."""
        return {
            name: (file.name, offset, offset + self._entries[name].n_bytes)
            for name, (file, offset) in self._places.items()
        }

    def rows(self, name: str, start: int, stop: int) -> Rows:
        entry, (file, offset) = self._entries[name], self._places[name]
        n_rows = entry.shape[0] if entry.shape else 1
        assert 0 <= start <= stop <= n_rows, f"rows {start}..{stop} of {n_rows}"
        row_bytes = entry.n_bytes // n_rows if n_rows else 0
        shape = (stop - start, *entry.shape[1:])
        return file.read_array(offset + start * row_bytes, shape, entry.dtype)

    def columns(self, name: str, start: int, stop: int) -> Rows:
        """Return columns [start, stop) of a matrix: `[shape[0], stop - start]`, read row by row."""
        entry, (file, offset) = self._entries[name], self._places[name]
        n_rows, n_columns = entry.shape
        assert 0 <= start <= stop <= n_columns, f"columns {start}..{stop} of {n_columns}"
        out = np.empty((n_rows, stop - start), entry.dtype)
        raw = out.view(np.uint8)
        if start == 0 and stop < n_columns:
            file.will_need(offset, entry.n_bytes)
        first, row_bytes = offset + start * entry.dtype.itemsize, n_columns * entry.dtype.itemsize
        for row in range(n_rows):
            file.read_into(first + row * row_bytes, raw[row].data)
        return out

    def _read_header(self, file: ByteSource) -> Iterator[tuple[TensorEntry, int]]:
        data_start, header = _read_json_header(file)
        extents: list[tuple[int, int, str]] = []
        for name, description in header.items():
            if name == "__metadata__":
                continue
            entry, begin, end = _check_tensor(name, description, file.size - data_start, file.name)
            extents.append((begin, end, name))
            yield entry, data_start + begin
        _check_overlaps(extents, file.name)


def _read_json_header(file: ByteSource) -> tuple[int, dict[str, Any]]:
    """Return the offset of the data, and the header."""
    prefix = file.read(0, 8)
    if len(prefix) < 8:
        raise CheckpointError(
            f"{file.name} has only {len(prefix)} bytes, too few for safetensors; download it again"
        )
    (size,) = struct.unpack("<Q", prefix)
    if size > HEADER_LIMIT_BYTES:
        raise CheckpointError(
            f"{file.name} says its header has {size:,} bytes, the limit is {HEADER_LIMIT_BYTES:,}; "
            "it isn't safetensors"
        )
    if 8 + size > file.size:
        raise CheckpointError(
            f"{file.name} has {file.size:,} bytes and its header alone needs {8 + size:,}; download it again"
        )
    header = parse_json(file.read(8, size), f"the header of {file.name}")
    if not isinstance(header, dict):
        raise CheckpointError(f"the header of {file.name} isn't a JSON object; it isn't safetensors")
    return 8 + size, header


def _check_tensor(
    name: str, description: Any, data_size: int, file_name: str
) -> tuple[TensorEntry, int, int]:
    """Return the tensor, and the offsets in the data at which its bytes begin and end."""
    where = f"tensor {name} of {file_name}"
    if not isinstance(description, dict):
        raise CheckpointError(f"{where} isn't described by an object; download it again")
    dtype_name: Any = description.get("dtype")
    shape: Any = description.get("shape")
    offsets: Any = description.get("data_offsets")
    if not isinstance(dtype_name, str) or dtype_name not in DTYPES:
        raise CheckpointError(f"{where} has dtype {dtype_name!r}; known are {', '.join(DTYPES)}")
    if not (_naturals(shape) and len(shape) <= 8):
        raise CheckpointError(f"{where} has the shape {shape!r}; download the file again")
    if not (_naturals(offsets) and len(offsets) == 2):
        raise CheckpointError(f"{where} has the data_offsets {offsets!r}; download the file again")
    begin, end = offsets
    entry = TensorEntry(name, tuple(shape), DTYPES[dtype_name])
    if not begin <= end <= data_size:
        raise CheckpointError(
            f"{where} ends at byte {end:,} of {data_size:,} bytes of data: cut short; download it again"
        )
    if math.prod(shape) * entry.dtype.itemsize != end - begin:
        raise CheckpointError(
            f"{where} has the shape {shape}, {entry.n_bytes:,} bytes, in a place of {end - begin:,}; "
            "download it again"
        )
    return entry, begin, end


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _check_overlaps(extents: list[tuple[int, int, str]], file_name: str) -> None:
    last_end, last_name = 0, ""
    for begin, end, name in sorted(extents):
        if begin < last_end:
            raise CheckpointError(f"tensors {last_name} and {name} overlap in {file_name}; download it again")
        last_end, last_name = max(last_end, end), name
