"""Files of importance matrices: llama.cpp's GGUF form, and its older binary form.

GGUF   general.type = "imatrix", imatrix.datasets / .chunk_count / .chunk_size, and for each weight
       <name>.in_sum2 [n_matrices, n_per_row] and <name>.counts [n_matrices, 1], F32
older  i32 n_entries, then for each: i32 length, name, i32 n_chunks, i32 n_values,
       f32 mean · n_chunks …; then i32 n_chunks, i32 length, name of the text
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from models.errors import InvalidGGUF, QuantizationError
from models.gguf.reader import GGUFArray, GGUFFile, GGUFTensor, read_gguf_file
from models.store.atomic_write import disk_errors
from quantize.gguf.header import Metadata, TensorInfo, aligned, encode_header, string, strings, uint32
from quantize.imatrix.matrix import Importance, ImportanceMatrix

_SUMS, _COUNTS = ".in_sum2", ".counts"
_MAX_ENTRIES = 65_536
_MAX_NAME_BYTES = 4096


def read_imatrix(path: Path) -> ImportanceMatrix:
    """Read either form. Raises QuantizationError with the reason: no such file, damaged, nothing in it."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        matrix = _read_gguf(path) if magic == b"GGUF" else _read_legacy(path)
    except InvalidGGUF as error:
        raise QuantizationError(f"no importance matrix: {error.message}") from error
    except OSError as error:
        raise QuantizationError(
            f"{path} can't be read: {error.strerror or error}; make it with: corral imatrix"
        ) from error
    if not matrix.entries:
        raise QuantizationError(f"{path} holds no importance matrix; make one with: corral imatrix")
    return matrix


def write_imatrix(matrix: ImportanceMatrix, path: Path) -> None:
    """Write the older form if the name ends in .dat, else GGUF. Replaces a file when the new one is whole."""
    with disk_errors(f"write {path.name}", path.absolute().parent):
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("wb") as file:
                (_write_legacy if path.suffix == ".dat" else _write_gguf)(matrix, file)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _read_gguf(path: Path) -> ImportanceMatrix:
    file = read_gguf_file(path)
    tensors = {tensor.name: tensor for tensor in file.tensors}
    entries = {}
    with path.open("rb") as data:
        for name, sums in tensors.items():
            if not name.endswith(_SUMS):
                continue
            base = name.removesuffix(_SUMS)
            counts = tensors.get(base + _COUNTS)
            if counts is None or counts.type != "F32" or sums.type != "F32":
                raise QuantizationError(f"{path} has no F32 counts for {base}; compute it again")
            entries[base] = _entry(path, base, _floats(data, sums), _floats(data, counts))
    return ImportanceMatrix(
        entries,
        datasets=_datasets(file),
        chunk_count=_integer(file, "imatrix.chunk_count"),
        chunk_size=_integer(file, "imatrix.chunk_size"),
        file=str(path),
    )


def _entry(
    path: Path, name: str, sums: npt.NDArray[np.float32], counts: npt.NDArray[np.float32]
) -> Importance:
    if not np.isfinite(counts).all() or counts.min() < 0 or len(sums) % len(counts):
        raise QuantizationError(f"{path} has {len(sums)} sums and {len(counts)} counts for {name}")
    return Importance(sums.reshape(len(counts), -1), np.rint(counts).astype(np.int64))


def _floats(file: BinaryIO, tensor: GGUFTensor) -> npt.NDArray[np.float32]:
    file.seek(tensor.offset)
    return np.frombuffer(file.read(tensor.nbytes), "<f4").astype(np.float32)


def _datasets(file: GGUFFile) -> tuple[str, ...]:
    value = file.metadata.get("imatrix.datasets")
    if not isinstance(value, GGUFArray) or value.element_type != "str":
        return ()
    return tuple(item.decode("utf-8", "replace") for item in value.strings())


def _integer(file: GGUFFile, key: str) -> int:
    value = file.metadata.get(key)
    return value if isinstance(value, int) else 0


def _write_gguf(matrix: ImportanceMatrix, file: BinaryIO) -> None:
    metadata: Metadata = {
        "general.type": string("imatrix"),
        "imatrix.datasets": strings(matrix.datasets),
        "imatrix.chunk_count": uint32(matrix.chunk_count),
        "imatrix.chunk_size": uint32(matrix.chunk_size),
    }
    arrays: list[npt.NDArray[np.float32]] = []
    infos: list[TensorInfo] = []
    offset = 0
    for name, entry in _in_order(matrix.entries):
        counts = entry.counts.astype("<f4")[:, None]
        for suffix, values in ((_SUMS, entry.sums), (_COUNTS, counts)):
            data = np.ascontiguousarray(values, "<f4")
            ne = tuple(data.shape[::-1]) if len(data) > 1 else (data.shape[1],)
            infos.append(TensorInfo(name + suffix, ne, 0, offset))
            arrays.append(data)
            offset += aligned(data.nbytes)
    file.write(encode_header(metadata, infos))
    for data in arrays:
        file.write(data.tobytes().ljust(aligned(data.nbytes), b"\0"))


def _in_order(entries: Mapping[str, Importance]) -> list[tuple[str, Importance]]:
    return sorted(entries.items(), key=lambda item: item[0].encode())


def _read_legacy(path: Path) -> ImportanceMatrix:
    with path.open("rb") as file:
        reader = _LegacyReader(path, file)
        entries = {}
        for _ in range(reader.integer(1, _MAX_ENTRIES)):
            name = reader.bytes(reader.integer(1, _MAX_NAME_BYTES)).decode("utf-8", "replace")
            n_chunks = reader.integer(0, 2**31 - 1)
            n_values = reader.integer(1, reader.left // 4)
            sums = np.frombuffer(reader.bytes(n_values * 4), "<f4").astype(np.float32)
            entries[name] = Importance(sums[None, :], np.asarray([max(n_chunks, 1)], np.int64))
        chunk_count = 0
        datasets: tuple[str, ...] = ()
        if reader.left >= 8:
            chunk_count = reader.integer(0, 2**31 - 1)
            text = reader.bytes(reader.integer(0, reader.left - 4)).decode("utf-8", "replace")
            datasets = (text,) if text else ()
    return ImportanceMatrix(entries, datasets, chunk_count, 1, str(path))


class _LegacyReader:
    """A reader that believes no length in the file before it fits what is left of it."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self.left = path.stat().st_size

    def bytes(self, count: int) -> bytes:
        """Read `count` bytes. Raises QuantizationError if there are fewer."""
        raw = self._file.read(count) if count <= self.left else b""
        if len(raw) != count:
            raise QuantizationError(f"{self._path} is no importance matrix, or is cut short; make it again")
        self.left -= count
        return raw

    def integer(self, low: int, high: int) -> int:
        """Read an i32. Raises QuantizationError if it isn't within [low, high]."""
        value: int = struct.unpack("<i", self.bytes(4))[0]
        if not low <= value <= high:
            raise QuantizationError(f"{self._path} is no importance matrix; make one with: corral imatrix")
        return value


def _write_legacy(matrix: ImportanceMatrix, file: BinaryIO) -> None:
    size = max(matrix.chunk_size, 1)
    known = [(name, entry) for name, entry in _in_order(matrix.entries) if entry.counts.max() > 0]
    file.write(struct.pack("<i", len(known)))
    for name, entry in known:
        raw = name.encode()
        n_chunks = -(-int(entry.counts.max()) // size)
        counts = np.broadcast_to(entry.counts, len(entry.sums)).astype(np.float32)[:, None]
        means = np.divide(entry.sums, counts, out=np.ones_like(entry.sums), where=counts > 0)
        values = (means * np.float32(n_chunks)).astype("<f4")
        file.write(struct.pack("<i", len(raw)) + raw)
        file.write(struct.pack("<ii", n_chunks, values.size) + values.tobytes())
    text = (matrix.datasets[-1] if matrix.datasets else "").encode()
    file.write(struct.pack("<ii", matrix.chunk_count, len(text)) + text)
