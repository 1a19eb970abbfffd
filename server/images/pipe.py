"""Parts on the pipes between a worker and the children that see to images: a length, then bytes."""

from __future__ import annotations

import struct
from typing import IO, Final

_LENGTH: Final = struct.Struct("<I")


def write_part(file: IO[bytes], part: bytes) -> None:
    """Write a part, and flush. Raises BrokenPipeError: nobody reads any more."""
    file.write(_LENGTH.pack(len(part)))
    file.write(part)
    file.flush()


def read_part(file: IO[bytes]) -> bytes | None:
    """Return the next part; None at the end of the file, or where it ends within a part."""
    length = file.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    n_bytes: int = _LENGTH.unpack(length)[0]
    part = file.read(n_bytes)
    return part if len(part) == n_bytes else None
