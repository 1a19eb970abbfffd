"""One torch file (`.bin`, `.pth`, `.pt`), read without torch: its tensors and their places.

Two layouts, both of torch.save:

    zip (since 1.6)   <any>/data.pkl, <any>/data/<key> per storage, all stored, <any>/byteorder
    legacy            pickles: magic, version, system, the tensors, the storages' keys; then per storage, in
                      that order: i64 number of elements, its bytes
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from models.errors import CheckpointError
from quantize.checkpoint.file_bytes import ByteSource
from quantize.checkpoint.torch.objects import PickledTensor, Storage
from quantize.checkpoint.torch.unpickle import read_pickle
from quantize.checkpoint.torch.zip_directory import Member, is_zip, read_zip_directory

MAX_PICKLE_BYTES: Final = 64 * 2**20
"""A pickle is read up to this many bytes."""

MAGIC: Final = 0x1950A86A20F9469CFC6C
VERSION: Final = 1001
WRAPPERS: Final = ("state_dict", "model", "module")
"""The keys under which training frameworks keep the state dict itself."""

_READ_BYTES: Final = 2**16


@dataclass(frozen=True)
class PlacedTensor:
    """A tensor and the offset, in the file, of its storage."""

    tensor: PickledTensor
    storage_offset: int


def read_torch_file(file: ByteSource) -> dict[str, PlacedTensor]:
    """Return the tensors of the file's state dict, by name.

    Raises CheckpointError with the file and the reason.
    """
    return _read_zip(file) if is_zip(file) else _read_legacy(file)


class _PickleStream:
    """A stream over bytes [start, stop) of a file, which reads them in pieces."""

    def __init__(self, file: ByteSource, start: int, stop: int) -> None:
        self._file = file
        self._next, self._stop = start, stop
        self._buffer, self._at = b"", 0

    @property
    def position(self) -> int:
        """The offset, in the file, of the next byte."""
        return self._next - (len(self._buffer) - self._at)

    def read(self, n_bytes: int, /) -> bytes:
        if n_bytes > len(self._buffer) - self._at:
            self._fill(n_bytes)
        data = self._buffer[self._at : self._at + n_bytes]
        self._at += len(data)
        return data

    def readline(self) -> bytes:
        """Return the rest of a line; a name in a pickle isn't longer than one piece."""
        if self._buffer.find(b"\n", self._at) < 0:
            self._fill(_READ_BYTES)
        end = self._buffer.find(b"\n", self._at) + 1
        return self.read(end - self._at) if end else b""

    def _fill(self, n_bytes: int) -> None:
        left = self._buffer[self._at :]
        more = self._file.read(
            self._next, min(max(n_bytes - len(left), _READ_BYTES), self._stop - self._next)
        )
        self._next += len(more)
        self._buffer, self._at = left + more, 0


# --- zip ----------------------------------------------------------------------------------------------------


def _read_zip(file: ByteSource) -> dict[str, PlacedTensor]:
    members = read_zip_directory(file)
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        _refuse(file, f"it has {len(pickles)} data.pkl, not one")
    prefix = pickles[0].removesuffix("data.pkl")
    _check_byte_order(file, members.get(f"{prefix}byteorder"))
    member = members[pickles[0]]
    if member.size > MAX_PICKLE_BYTES:
        _refuse(file, f"its data.pkl has {member.size:,} bytes (at most {MAX_PICKLE_BYTES:,} are read)")
    stream = _PickleStream(file, member.offset, member.offset + member.size)
    tensors = _state_dict(file, read_pickle(stream, f"the pickle of {file.name}"))
    placed: dict[str, PlacedTensor] = {}
    for name, tensor in tensors.items():
        storage = tensor.storage
        data = members.get(f"{prefix}data/{storage.key}")
        if data is None:
            _refuse(file, f"the storage {storage.key[:40]!r} of tensor {name} is missing")
        if data.size != storage.n_elements * storage.dtype.itemsize:
            _refuse(
                file,
                f"tensor {name} has a storage of {data.size:,} bytes, not {storage.n_elements:,} elements of "
                f"{storage.dtype.name}",
            )
        placed[name] = PlacedTensor(tensor, data.offset)
    return placed


def _check_byte_order(file: ByteSource, member: Member | None) -> None:
    if member is not None and file.read(member.offset, min(member.size, 16)) != b"little":
        _refuse(file, "it was saved on a big-endian machine")


# --- legacy -------------------------------------------------------------------------------------------------


def _read_legacy(file: ByteSource) -> dict[str, PlacedTensor]:
    where = f"the pickle of {file.name}"
    if file.read(0, 1) != b"\x80":
        _refuse(file, "it begins like no torch file")
    stream = _PickleStream(file, 0, min(file.size, MAX_PICKLE_BYTES))
    if read_pickle(stream, where) != MAGIC or read_pickle(stream, where) != VERSION:
        _refuse(file, "it doesn't begin as torch's files do")
    system = read_pickle(stream, where)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        _refuse(file, "it was saved on a big-endian machine")
    tensors = _state_dict(file, read_pickle(stream, where))
    keys = read_pickle(stream, where)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        _refuse(file, "its list of storages is damaged")
    return _place_legacy(file, tensors, keys, stream.position)


def _place_legacy(
    file: ByteSource, tensors: dict[str, PickledTensor], keys: list[Any], offset: int
) -> dict[str, PlacedTensor]:
    storages: dict[str, Storage] = {}
    for name, tensor in tensors.items():
        if storages.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            _refuse(file, f"the storage of tensor {name} is described in two ways")
    places: dict[str, int] = {}
    for key in keys:
        storage = storages.get(key)
        if storage is None or key in places:
            _refuse(file, "it has storages that belong to no tensor")
        raw = file.read(offset, 8)
        end = offset + 8 + storage.n_elements * storage.dtype.itemsize
        if len(raw) < 8 or struct.unpack("<q", raw)[0] != storage.n_elements or end > file.size:
            _refuse(file, f"the storage {key[:40]!r} of {storage.n_elements:,} elements isn't all there")
        places[key], offset = offset + 8, end
    lost = [name for name, tensor in tensors.items() if tensor.storage.key not in places]
    if lost:
        _refuse(file, f"the storage of tensor {lost[0]} is missing")
    return {name: PlacedTensor(tensor, places[tensor.storage.key]) for name, tensor in tensors.items()}


# --- the state dict -----------------------------------------------------------------------------------------


def _state_dict(file: ByteSource, value: Any) -> dict[str, PickledTensor]:
    """Return the tensors of a dict, or of the one under a wrapper's key; numbers and text are skipped."""
    if isinstance(value, dict) and not any(isinstance(item, PickledTensor) for item in value.values()):
        wrapped = [value[key] for key in WRAPPERS if isinstance(value.get(key), dict)]
        value = wrapped[0] if wrapped else value
    if not isinstance(value, dict):
        _refuse(file, f"it holds a {type(value).__name__} and no state dict")
    tensors: dict[str, PickledTensor] = {}
    for name, item in value.items():
        if isinstance(item, PickledTensor):
            if not isinstance(name, str) or not name.isprintable():
                _refuse(file, f"a tensor's name is {ascii(name)[:80]}")
            tensors[name] = item
        elif isinstance(item, dict | list | tuple) and item:
            _refuse(file, f"{ascii(name)[:80]} is a {type(item).__name__} instead of a tensor")
    if not tensors:
        _refuse(file, "it holds no tensors")
    return tensors


def _refuse(file: ByteSource, reason: str) -> NoReturn:
    raise CheckpointError(f"{file.name} can't be read: {reason}; download it again, or use safetensors")
