"""The structure of one GGUF file: header, key-value pairs, tensor table.

It knows nothing of models. The file comes from a stranger. No count or size in it is believed before it has
been held against the bytes that are left; all are capped too, so that no file can cost much time or memory.
It is read, never mapped: a file that shrinks meanwhile ends in an error, not in SIGBUS. Layout
(little-endian):

    "GGUF"  u32 version  u64 n_tensors  u64 n_kv
    n_kv x      { string key, u32 type, value }              string = u64 length, bytes
    n_tensors x { string name, u32 n_dims, u64 ne[n_dims], u32 ggml type, u64 offset }
    padding to the alignment, then the tensors' data, each padded too, in the table's order
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NoReturn

from models.errors import InvalidGGUF
from models.quantization_types import TENSOR_TYPES

MAX_HEADER_BYTES = 64 << 20
MAX_STRING_BYTES = 48 << 20
MAX_ARRAY_STRINGS = 1_000_000
MAX_KEY_VALUES = 65_536
MAX_TENSORS = 65_536
MAX_NAME_BYTES = 63
DEFAULT_ALIGNMENT = 32
_READ_BYTES = 1 << 20
_I64_MAX = 2**63 - 1

Scalar = int | float | bool | str

_STRING, _ARRAY, _BOOL = 8, 9, 7
_FORMATS: dict[int, tuple[str, str]] = {
    0: ("u8", "<B"),
    1: ("i8", "<b"),
    2: ("u16", "<H"),
    3: ("i16", "<h"),
    4: ("u32", "<I"),
    5: ("i32", "<i"),
    6: ("f32", "<f"),
    _BOOL: ("bool", "<B"),
    10: ("u64", "<Q"),
    11: ("i64", "<q"),
    12: ("f64", "<d"),
}


@dataclass(frozen=True, slots=True)
class GGUFArray:
    """An array's type ("i32", "str" …), its length, and its undecoded elements."""

    element_type: str
    length: int
    raw: bytes

    def strings(self) -> Iterator[bytes]:
        """Yield the elements of a "str" array."""
        assert self.element_type == "str"
        position, unpack = 0, struct.Struct("<Q").unpack_from
        for _ in range(self.length):
            start = position + 8
            position = start + unpack(self.raw, position)[0]
            yield self.raw[start:position]

    def numbers(self) -> list[int | float]:
        """Return the elements of an array of numbers, or of bools as 0 and 1."""
        letter = next(form[1] for name, form in _FORMATS.values() if name == self.element_type)
        return list(struct.unpack(f"<{self.length}{letter}", self.raw))


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """A row of the tensor table.

    `shape` is ggml's ne: the row length first. `offset` is from the start of the file, of part `part`.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    nbytes: int
    part: int = 0

    @property
    def n_elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class GGUFFile:
    """One file's structure. `types` has each key's GGUF type: "u32", "str", "array" …"""

    path: Path
    size_bytes: int
    version: int
    alignment: int
    metadata: dict[str, Scalar | GGUFArray]
    types: dict[str, str]
    tensors: tuple[GGUFTensor, ...]


def read_gguf_file(path: Path, *, part: int = 0) -> GGUFFile:
    """Read a file's structure. Raises InvalidGGUF with the reason, and nothing else, whatever it holds."""
    try:
        with path.open("rb") as file:
            return _Reader(path, file, path.stat().st_size).read(part)
    except OSError as error:
        raise InvalidGGUF(f"{path} can't be read: {error.strerror or error}; check the path") from error
    except (struct.error, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise InvalidGGUF(f"{path} is no valid GGUF file: {error}; download or make it again") from error


class _Reader:
    """A position in the file's first bytes; `need` reads on, in large pieces, as far as the header goes."""

    def __init__(self, path: Path, file: BinaryIO, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self._file = file
        self._buffer = bytearray()
        self._position = 0

    def fail(self, reason: str) -> NoReturn:
        raise InvalidGGUF(f"{self.path} is no valid GGUF file: {reason}; download or make it again")

    def read(self, part: int) -> GGUFFile:
        n_tensors, n_kv, version = self._header()
        metadata: dict[str, Scalar | GGUFArray] = {}
        types: dict[str, str] = {}
        for index in range(n_kv):
            key = self._string(f"key {index}").decode()
            if not key or key in metadata:
                self.fail(f"key {index} is empty" if not key else f"key {key} appears twice")
            metadata[key], types[key] = self._value(key)
        alignment = self._alignment(metadata, types)
        tensors = self._tensors(n_tensors, alignment, part)
        return GGUFFile(self.path, self.size_bytes, version, alignment, metadata, types, tensors)

    def need(self, count: int, what: str) -> int:
        """Move `count` bytes on; returns where they start in the buffer."""
        start = self._position
        end = start + count
        if end > len(self._buffer):
            if end > self.size_bytes:
                self.fail(f"{what} needs {count:,} bytes and {self.size_bytes - start:,} are left")
            if end > MAX_HEADER_BYTES:
                self.fail(f"its header is larger than {MAX_HEADER_BYTES:,} bytes")
            while end > len(self._buffer):
                block = self._file.read(max(_READ_BYTES, end - len(self._buffer)))
                if not block:
                    self.fail(f"it ends inside {what}")
                self._buffer += block
        self._position = end
        return start

    def _number(self, form: str, what: str) -> int:
        start = self.need(struct.calcsize(form), what)
        value: int = struct.unpack_from(form, self._buffer, start)[0]
        return value

    def _header(self) -> tuple[int, int, int]:
        if self.size_bytes < 24:
            self.fail(f"it has {self.size_bytes} bytes and a header has 24")
        magic = bytes(self._buffer[self.need(4, "the magic") :][:4])
        if magic != b"GGUF":
            self.fail(f"it starts with {magic!r} instead of b'GGUF'")
        version = self._number("<I", "the version")
        if version & 0xFFFF == 0:
            self.fail(f"version {version:#x} looks big-endian, and only little-endian files are read")
        if version not in (2, 3):
            self.fail(f"it has version {version}, and versions 2 and 3 are known")
        n_tensors = self._number("<Q", "the tensor count")
        n_kv = self._number("<Q", "the key count")
        left = self.size_bytes - self._position
        # The smallest key-value pair has 8 + 1 + 4 + 1 bytes, the smallest table entry 8 + 1 + 4 + 8 + 4 + 8.
        for count, smallest, most, what in (
            (n_kv, 14, MAX_KEY_VALUES, "keys"),
            (n_tensors, 33, MAX_TENSORS, "tensors"),
        ):
            if count > min(left // smallest, most):
                self.fail(f"it claims {count:,} {what} in {left:,} bytes (at most {most:,} are read)")
        return n_tensors, n_kv, version

    def _string(self, what: str) -> bytes:
        size = self._number("<Q", what)
        if size > MAX_STRING_BYTES:
            self.fail(f"{what} claims a string of {size:,} bytes (at most {MAX_STRING_BYTES:,} are read)")
        start = self.need(size, what)
        return bytes(self._buffer[start : start + size])

    def _value(self, key: str) -> tuple[Scalar | GGUFArray, str]:
        type_ = self._number("<I", key)
        if type_ == _STRING:
            return self._string(key).decode(), "str"
        if type_ == _ARRAY:
            return self._array(key), "array"
        if type_ not in _FORMATS:
            self.fail(f"key {key} has the unknown value type {type_}")
        name, form = _FORMATS[type_]
        value = self._number(form, key)
        if type_ == _BOOL:
            if value not in (0, 1):
                self.fail(f"key {key} is a bool with the value {value}")
            return bool(value), name
        return value, name

    def _array(self, key: str) -> GGUFArray:
        type_ = self._number("<I", key)
        length = self._number("<Q", key)
        start = self._position
        if type_ == _STRING:
            if length > MAX_ARRAY_STRINGS:
                self.fail(f"key {key} claims {length:,} strings (at most {MAX_ARRAY_STRINGS:,} are read)")
            self._skip_strings(key, length)
            name = "str"
        elif type_ in _FORMATS:
            name, form = _FORMATS[type_]
            self.need(length * struct.calcsize(form), key)
        else:
            self.fail(f"key {key} is an array of the unknown or nested type {type_}")
        return GGUFArray(name, length, bytes(self._buffer[start : self._position]))

    def _skip_strings(self, key: str, count: int) -> None:
        """Pass `count` strings, as `_string` does one; written out, as vocabularies are large."""
        if count * 8 > self.size_bytes - self._position:
            self.fail(f"key {key} claims {count:,} strings, more than the file has room for")
        unpack, buffer = struct.Struct("<Q").unpack_from, self._buffer
        have, position = len(buffer), self._position
        for _ in range(count):
            if position + 8 <= have:
                end = position + 8 + unpack(buffer, position)[0]
                if end <= have:
                    position = end
                    continue
            self._position = position
            self._string(key)
            have, position = len(buffer), self._position
        self._position = position

    def _alignment(self, metadata: dict[str, Scalar | GGUFArray], types: dict[str, str]) -> int:
        value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(value, int) or types.get("general.alignment", "u32") != "u32":
            self.fail("general.alignment is no u32")
        if not 8 <= value <= 1 << 20 or value & (value - 1):
            self.fail(f"general.alignment is {value}, and must be a power of two from 8 to {1 << 20}")
        return value

    def _tensors(self, count: int, alignment: int, part: int) -> tuple[GGUFTensor, ...]:
        table = [self._tensor(index, part) for index in range(count)]
        names: set[str] = set()
        for tensor in table:
            if tensor.name in names:
                self.fail(f"tensor {tensor.name} appears twice")
            names.add(tensor.name)
        data_start = -(-self._position // alignment) * alignment
        tensors, expected = [], 0
        for tensor in table:
            if tensor.offset != expected:
                self.fail(f"tensor {tensor.name} is at offset {tensor.offset:,} instead of {expected:,}")
            end = data_start + tensor.offset + tensor.nbytes
            if end > self.size_bytes:
                self.fail(f"tensor {tensor.name} ends at byte {end:,} and the file at {self.size_bytes:,}")
            expected += -(-tensor.nbytes // alignment) * alignment
            tensors.append(replace(tensor, offset=data_start + tensor.offset))
        if tensors and data_start + expected < self.size_bytes:
            self.fail(f"{self.size_bytes - data_start - expected:,} bytes follow its last tensor")
        return tuple(tensors)

    def _tensor(self, index: int, part: int) -> GGUFTensor:
        """Read a row of the table; its offset is still that from the start of the data."""
        what = f"tensor {index}"
        raw_name = self._string(what)
        if not 1 <= len(raw_name) <= MAX_NAME_BYTES or b"\0" in raw_name:
            self.fail(f"{what} has a name of {len(raw_name):,} bytes (1 to {MAX_NAME_BYTES}, without NUL)")
        name = raw_name.decode()
        n_dims = self._number("<I", what)
        if not 1 <= n_dims <= 4:
            self.fail(f"tensor {name} has {n_dims} dimensions (1 to 4)")
        shape = tuple(self._number("<Q", what) for _ in range(n_dims))
        n_elements = 1
        for size in shape:
            n_elements *= size
        if n_elements == 0 or n_elements > _I64_MAX:
            self.fail(f"tensor {name} has the shape {list(shape)}")
        type_ = TENSOR_TYPES.get(number := self._number("<I", what))
        if type_ is None:
            self.fail(f"tensor {name} has the unknown type {number}")
        if shape[0] % type_.block_size:
            self.fail(
                f"tensor {name} has rows of {shape[0]:,}, and {type_.name} has blocks of {type_.block_size}"
            )
        offset = self._number("<Q", what)
        return GGUFTensor(name, shape, type_.name, offset, type_.nbytes(n_elements), part)
