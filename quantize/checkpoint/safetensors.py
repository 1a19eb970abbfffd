"""safetensors files as a TensorSource: one file, or shards with an index.

Layout (https://github.com/huggingface/safetensors#format): u64 header length, JSON header, data. The header
comes from strangers, so nothing in it is believed before it fits the file: sizes, offsets, overlaps, shapes
against bytes.

Rows are read with `preadv` rather than through a memory map: a file cut short under our feet is then an
error and not a SIGBUS, memory in use is what we allocated, and several threads share one descriptor.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from models.errors import CheckpointError
from quantize.checkpoint.json_file import parse_json, read_json_object
from quantize.checkpoint.source import Rows, TensorEntry

HEADER_LIMIT_BYTES: Final = 100 * 2**20  # the specification's own limit
INDEX_NAME: Final = "model.safetensors.index.json"
SINGLE_NAME: Final = "model.safetensors"

# Every dtype of the format, so that any header can be measured; not all are weights that can be used.
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
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


@dataclass(frozen=True)
class _Place:
    """Where a tensor's bytes lie: in the file with descriptor `fd`, from `offset` on."""

    fd: int
    offset: int
    file_name: str


class SafetensorsSource:
    """One or several safetensors files. Owns their descriptors until `close()`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Open and check every header. Raises CheckpointError with the file and the reason."""
        self._entries: dict[str, TensorEntry] = {}
        self._places: dict[str, _Place] = {}
        self._fds: list[int] = []
        try:
            for path in paths:
                self._add(path)
        except BaseException:
            self.close()
            raise

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    def rows(self, name: str, start: int, stop: int) -> Rows:
        entry, place = self._entries[name], self._places[name]
        n_rows = entry.shape[0] if entry.shape else 1
        assert 0 <= start <= stop <= n_rows, f"rows {start}..{stop} of {n_rows}"
        out = np.empty((stop - start, *entry.shape[1:]), entry.dtype)
        row_bytes = entry.n_bytes // n_rows if n_rows else 0
        self._read(place, place.offset + start * row_bytes, out.reshape(-1).view(np.uint8).data)
        return out

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def _read(self, place: _Place, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            try:
                n_read = os.preadv(place.fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise CheckpointError(
                    f"{place.file_name} can't be read: {error.strerror}; check the disk"
                ) from error
            if n_read == 0:
                raise CheckpointError(
                    f"{place.file_name} became shorter while it was read; download it again"
                )
            done += n_read

    def _add(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CheckpointError(
                f"{path} can't be opened: {error.strerror}; download the checkpoint again"
            ) from error
        self._fds.append(fd)
        file_size = os.fstat(fd).st_size
        data_start, header = _read_header(fd, file_size, path.name)
        extents: list[tuple[int, int, str]] = []
        for name, description in header.items():
            if name == "__metadata__":
                continue
            entry, begin, end = _check_tensor(name, description, file_size - data_start, path.name)
            if name in self._entries:
                other = self._places[name].file_name
                raise CheckpointError(
                    f"tensor {name} is both in {other} and in {path.name}; remove the older file"
                )
            self._entries[name] = entry
            self._places[name] = _Place(fd, data_start + begin, path.name)
            extents.append((begin, end, name))
        _check_overlaps(extents, path.name)


def open_safetensors(directory: Path) -> SafetensorsSource:
    """The safetensors of a folder: by its index, else the single file, else every `model*.safetensors`.

    Raises CheckpointError when there are none, or when index and shards disagree.
    """
    index_path = directory / INDEX_NAME
    if index_path.is_file():
        return _open_sharded(directory, index_path)
    if (directory / SINGLE_NAME).is_file():
        return SafetensorsSource([directory / SINGLE_NAME])
    paths = sorted(directory.glob("model*.safetensors"))
    if not paths and next(directory.glob("*.bin"), None) is not None:
        raise CheckpointError(
            f"{directory} has only torch .bin weights, which can't be read here; "
            "choose a revision with safetensors"
        )
    if not paths:
        raise CheckpointError(
            f"{directory} has no model.safetensors; point at a folder with a model's weights"
        )
    return SafetensorsSource(paths)


def _open_sharded(directory: Path, index_path: Path) -> SafetensorsSource:
    weight_map = read_json_object(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CheckpointError(f"{index_path.name} has no usable weight_map; download it again")
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        if Path(shard).name != shard:
            raise CheckpointError(
                f"{index_path.name} names a shard outside its folder, {shard!r}; it isn't trusted"
            )
        if not (directory / shard).is_file():
            raise CheckpointError(
                f"{index_path.name} names {shard}, which is missing; download the checkpoint again"
            )
    source = SafetensorsSource([directory / shard for shard in shards])
    missing = [name for name in weight_map if name not in source.entries]
    unlisted = [name for name in source.entries if name not in weight_map]
    if missing or unlisted:
        source.close()
        what = (
            f"names {_few(missing)}, in no shard"
            if missing
            else f"doesn't name {_few(unlisted)} of the shards"
        )
        raise CheckpointError(f"{index_path.name} {what}; download the checkpoint again")
    return source


def _few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def _read_header(fd: int, file_size: int, file_name: str) -> tuple[int, dict[str, Any]]:
    """The offset of the data, and the header."""
    prefix = os.pread(fd, 8, 0)
    if len(prefix) < 8:
        raise CheckpointError(
            f"{file_name} has only {len(prefix)} bytes, too few for safetensors; download it again"
        )
    (size,) = struct.unpack("<Q", prefix)
    if size > HEADER_LIMIT_BYTES:
        raise CheckpointError(
            f"{file_name} says its header has {size:,} bytes, the limit is {HEADER_LIMIT_BYTES:,}; "
            "it isn't safetensors"
        )
    if 8 + size > file_size:
        raise CheckpointError(
            f"{file_name} has {file_size:,} bytes and its header alone needs {8 + size:,}; download it again"
        )
    header = parse_json(os.pread(fd, size, 8), f"the header of {file_name}")
    if not isinstance(header, dict):
        raise CheckpointError(f"the header of {file_name} isn't a JSON object; it isn't safetensors")
    return 8 + size, header


def _check_tensor(
    name: str, description: Any, data_size: int, file_name: str
) -> tuple[TensorEntry, int, int]:
    """The tensor, and its bytes' begin and end in the data."""
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
