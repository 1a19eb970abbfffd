"""torch files made by hand: pickles from their opcodes, zip and legacy containers. No torch, no pickle.

The files are those that torch.save writes; the oracle tests compare with torch itself.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

STORAGE_NAMES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
MARK, TUPLE, REDUCE, STOP, BUILD, NONE = b"(", b"t", b"R", b".", b"b", b"N"
FALSE, PERSISTENT, EMPTY_DICT, SET_ITEMS, EMPTY_LIST, APPENDS = b"\x89", b"Q", b"}", b"u", b"]", b"e"
EMPTY_TUPLE = b")"


@dataclass(frozen=True)
class View:
    """A tensor as torch sees it: `shape` and `strides` in elements, from `offset` of the storage `key`."""

    key: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


def name(module: str, attribute: str) -> bytes:
    """Return a GLOBAL opcode."""
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_of(*items: bytes) -> bytes:
    return MARK + b"".join(items) + TUPLE


def numbers(values: Sequence[int]) -> bytes:
    return tuple_of(*map(number, values))


def storage(key: str, kind: str, n_elements: int, *more: bytes) -> bytes:
    described = (text("storage"), name("torch", kind), text(key), text("cpu"), number(n_elements), *more)
    return tuple_of(*described) + PERSISTENT


def tensor(stored: bytes, view: View) -> bytes:
    hooks = name("collections", "OrderedDict") + EMPTY_TUPLE + REDUCE
    arguments = (stored, number(view.offset), numbers(view.shape), numbers(view.strides), FALSE, hooks)
    return name("torch._utils", "_rebuild_tensor_v2") + tuple_of(*arguments) + REDUCE


def state_dict(items: Mapping[str, bytes], *, ordered: bool = True) -> bytes:
    """Return a pickle of a state dict, with the `_metadata` that torch's modules set on theirs."""
    start = name("collections", "OrderedDict") + EMPTY_TUPLE + REDUCE if ordered else EMPTY_DICT
    content = MARK + b"".join(text(key) + value for key, value in items.items()) + SET_ITEMS
    attributes = EMPTY_DICT + MARK + text("_metadata") + EMPTY_DICT + SET_ITEMS + BUILD if ordered else b""
    return pickled(start + content + attributes)


def pickled(body: bytes) -> bytes:
    return b"\x80\x02" + body + STOP


def contiguous(key: str, shape: Sequence[int]) -> View:
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return View(key, tuple(shape), tuple(strides))


def views_pickle(storages: Mapping[str, npt.NDArray[Any]], views: Mapping[str, View], *more: bytes) -> bytes:
    stored = {
        key: storage(key, STORAGE_NAMES[array.dtype.name], array.size, *more)
        for key, array in storages.items()
    }
    return state_dict({key: tensor(stored[view.key], view) for key, view in views.items()})


def write_zip(
    path: Path,
    pickle: bytes,
    storages: Mapping[str, bytes],
    *,
    order: bytes = b"little",
    compression: int = zipfile.ZIP_STORED,
    prefix: str = "archive",
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr(f"{prefix}/data.pkl", pickle)
        file.writestr(f"{prefix}/byteorder", order)
        for key, raw in storages.items():
            file.writestr(f"{prefix}/data/{key}", raw)
        file.writestr(f"{prefix}/version", b"3\n")
    return path


def write_views(path: Path, storages: Mapping[str, npt.NDArray[Any]], views: Mapping[str, View]) -> Path:
    return write_zip(
        path, views_pickle(storages, views), {key: array.tobytes() for key, array in storages.items()}
    )


def write_legacy(
    path: Path, pickle: bytes, storages: Mapping[str, npt.NDArray[Any]], *, little: bool = True
) -> Path:
    system = EMPTY_DICT + MARK + text("little_endian") + (b"\x88" if little else FALSE) + SET_ITEMS
    keys = EMPTY_LIST + MARK + b"".join(map(text, storages)) + APPENDS
    head = (number(0x1950A86A20F9469CFC6C), number(1001), system)
    with path.open("wb") as file:
        file.write(b"".join(map(pickled, head)) + pickle + pickled(keys))
        for array in storages.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())
    return path


def write_tensors(path: Path, tensors: Mapping[str, npt.NDArray[Any]], *, legacy: bool = False) -> Path:
    """Write each tensor with a storage of its own, as a saved model's are."""
    storages = {str(i): np.ascontiguousarray(array) for i, array in enumerate(tensors.values())}
    views = {key: contiguous(str(i), array.shape) for i, (key, array) in enumerate(tensors.items())}
    if legacy:
        return write_legacy(path, views_pickle(storages, views, NONE), storages)
    return write_views(path, storages, views)
