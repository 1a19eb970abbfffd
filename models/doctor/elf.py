"""The few parts of an ELF shared library that show its compiler and switches. Loads nothing."""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("<4sBBB9xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_CLASS_64, _LITTLE_ENDIAN, _X86_64 = 2, 1, 62
_NO_BITS = 8

# ldtilecfg with a memory operand: VEX.128.NP.0F38.W0 49 /0, registers of either half as its base.
_LOAD_TILE_CONFIGURATION = re.compile(
    rb"\xc4[\x82\xa2\xc2\xe2]\x78\x49[\x00-\x07\x40-\x47\x80-\x87]", re.DOTALL
)

# The column sizes of ggml's tile configuration (64, 64, 32, 32 bytes) as the compiler stores them at once.
_TILE_COLUMNS = struct.pack("<4H", 64, 64, 32, 32)


@dataclass(frozen=True)
class LibraryBuild:
    """The traces of a shared library's compilation.

    `compilers`: the lines of .comment ("GCC: (Debian 12.2.0-14) 12.2.0"), those of the C run-time's
    start files included. `switches`: one command line per way in which a source was compiled, empty
    unless recorded. `has_tile_code`: it loads an AMX tile configuration. `stores_tile_columns`: the
    sizes in ggml's tile configuration are in the file.
    """

    path: Path
    compilers: tuple[str, ...]
    switches: tuple[str, ...]
    has_tile_code: bool
    stores_tile_columns: bool


def read_build(path: Path) -> LibraryBuild | None:
    """Read the traces; return None if the file is no 64-bit x86 ELF library: other machines have no AMX."""
    with path.open("rb") as file:
        if path.stat().st_size < _HEADER.size:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                sections = _sections(data)
            except (struct.error, IndexError, OverflowError, ValueError):
                return None
            if sections is None:
                return None
            return LibraryBuild(
                path=path,
                compilers=_strings(data, sections.get(".comment")),
                switches=_strings(data, sections.get(".GCC.command.line")),
                has_tile_code=_contains(data, sections.get(".text"), _LOAD_TILE_CONFIGURATION),
                stores_tile_columns=data.find(_TILE_COLUMNS) >= 0,
            )


def _sections(data: mmap.mmap) -> dict[str, tuple[int, int]] | None:
    """Return (offset, size) of each section by name; None for another kind of file."""
    header = _HEADER.unpack_from(data)
    magic, bits, order, machine = header[0], header[1], header[2], header[5]
    if magic != b"\x7fELF" or bits != _CLASS_64 or order != _LITTLE_ENDIAN or machine != _X86_64:
        return None
    table, entry_size, count, names_index = header[9], header[14], header[15], header[16]
    entries = [_SECTION.unpack_from(data, table + index * entry_size) for index in range(count)]
    names_offset = entries[names_index][4]
    sections = {}
    for name, kind, _flags, _address, offset, size, *_ in entries:
        start = names_offset + name
        end = data.find(b"\0", start)
        if kind != _NO_BITS and end >= 0:
            sections[data[start:end].decode("ascii", "replace")] = (offset, size)
    return sections


def _strings(data: mmap.mmap, section: tuple[int, int] | None) -> tuple[str, ...]:
    if section is None:
        return ()
    offset, size = section
    parts = data[offset : offset + size].split(b"\0")
    return tuple(part.decode("utf-8", "replace") for part in parts if part)


def _contains(data: mmap.mmap, section: tuple[int, int] | None, pattern: re.Pattern[bytes]) -> bool:
    if section is None:
        return False
    offset, size = section
    return pattern.search(data, offset, offset + size) is not None
