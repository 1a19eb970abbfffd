"""The header of a GGUF file as bytes: magic, metadata, tensor table, padding. Pure.

GGUF version 3, little-endian: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Sizes and offsets
of the tensors are known before any data is, so several files can be written at once, each chunk at its
place.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

MAGIC: Final = b"GGUF"
VERSION: Final = 3
ALIGNMENT: Final = 32


class ValueType(IntEnum):
    """GGUF's metadata value types."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_FORMATS: Final[dict[ValueType, str]] = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}


@dataclass(frozen=True)
class Value:
    """A metadata value; an array has its items' type in `item_type` and their sequence in `data`."""

    type: ValueType
    data: Any
    item_type: ValueType | None = None


Metadata = dict[str, Value]


def uint32(value: int) -> Value:
    return Value(ValueType.UINT32, value)


def float32(value: float) -> Value:
    return Value(ValueType.FLOAT32, value)


def boolean(value: bool) -> Value:
    return Value(ValueType.BOOL, value)


def string(value: str) -> Value:
    return Value(ValueType.STRING, value)


def int32(value: int) -> Value:
    return Value(ValueType.INT32, value)


def array(item_type: ValueType, items: Sequence[Any]) -> Value:
    return Value(ValueType.ARRAY, items, item_type)


def strings(items: Sequence[str | bytes]) -> Value:
    return array(ValueType.STRING, items)


@dataclass(frozen=True)
class TensorInfo:
    """A row of the tensor table. `ne` is ggml's shape, row length first; `offset` counts within the data."""

    name: str
    ne: tuple[int, ...]
    ggml_type: int
    offset: int


def aligned(size: int) -> int:
    """Return `size` rounded up to the file's alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def encode_header(metadata: Mapping[str, Value], tensors: Sequence[TensorInfo]) -> bytes:
    """Encode everything before the tensor data, padded, so that its length is the offset of the data."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += [_encode_string(key), struct.pack("<I", value.type), encode_value(value)]
    for tensor in tensors:
        parts.append(_encode_string(tensor.name))
        parts.append(struct.pack(f"<I{len(tensor.ne)}Q", len(tensor.ne), *tensor.ne))
        parts.append(struct.pack("<IQ", tensor.ggml_type, tensor.offset))
    header = b"".join(parts)
    return header.ljust(aligned(len(header)), b"\0")


def _encode_string(text: str | bytes) -> bytes:
    raw = text.encode("utf-8") if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def encode_value(value: Value) -> bytes:
    """Encode a value without its type. Raises what `struct` and `str.encode` do for what GGUF can't hold."""
    if value.type is ValueType.STRING:
        return _encode_string(value.data)
    if value.type is not ValueType.ARRAY:
        return struct.pack("<" + _FORMATS[value.type], value.data)
    assert value.item_type is not None, "an array says what its items are"
    head = struct.pack("<IQ", value.item_type, len(value.data))
    if value.item_type is ValueType.STRING:
        return head + b"".join(map(_encode_string, value.data))
    return head + struct.pack(f"<{len(value.data)}{_FORMATS[value.item_type]}", *value.data)
