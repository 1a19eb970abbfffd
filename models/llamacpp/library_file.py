"""A check of a shared library's file before it is mapped: that it is whole, and for this machine.

A file that ends too early, after a copy that broke off, is mapped without complaint; whoever touches what is
missing dies of SIGBUS. Of a file for another machine the system says that it isn't there. Loads nothing.
"""

from __future__ import annotations

import platform
import struct
from pathlib import Path
from typing import BinaryIO

from models.errors import LlamaCppError

_HEADER = struct.Struct("<4sBB10xHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_CLASS_64, _LITTLE_ENDIAN, _SHARED = 2, 1, 3
_MACHINES = {62: "x86_64", 183: "aarch64"}
_OTHER_NAMES = {"amd64": "x86_64", "arm64": "aarch64"}


def check_library_file(path: Path, machine: str = platform.machine()) -> None:
    """Raise LlamaCppError unless the file is a whole shared library for `machine`.

    The contents aren't looked at: what is in its place may still be wrong.
    """
    try:
        with path.open("rb") as file:
            n_bytes = path.stat().st_size
            whole = _whole_bytes(file, path, machine.lower())
    except OSError as error:
        raise LlamaCppError(f"{path} can't be read: {error.strerror}") from None
    if n_bytes < whole:
        raise LlamaCppError(f"{path} isn't whole: it has {n_bytes:,} of {whole:,} bytes")


def _whole_bytes(file: BinaryIO, path: Path, machine: str) -> int:
    """Return the bytes that the library has by its headers. Raises LlamaCppError for what is none."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or header[:4] != b"\x7fELF":
        raise LlamaCppError(f"{path} is no shared library")
    fields = _HEADER.unpack(header)
    bits, order, kind, number = fields[1:5]
    segments_at, sections_at = fields[7:9]
    segment_size, n_segments, section_size, n_sections = fields[11:15]
    if (bits, order, kind, segment_size) != (_CLASS_64, _LITTLE_ENDIAN, _SHARED, _SEGMENT.size):
        raise LlamaCppError(f"{path} is no shared library of 64 bits")
    made_for = _MACHINES.get(number, f"machine {number}")
    if made_for != _OTHER_NAMES.get(machine, machine):
        raise LlamaCppError(f"{path} is for {made_for}, and this machine is {machine}")
    file.seek(segments_at)
    table = file.read(_SEGMENT.size * n_segments)
    ends: list[int] = [segments_at + _SEGMENT.size * n_segments, sections_at + section_size * n_sections]
    for at in range(0, len(table) - _SEGMENT.size + 1, _SEGMENT.size):
        _, _, offset, _, _, in_file, _, _ = _SEGMENT.unpack_from(table, at)
        ends.append(offset + in_file)
    return max(ends)
