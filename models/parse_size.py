"""`parse_size`: sizes as people write them, such as `2GiB`, `500MB`, `1.5 GiB` or `4096`."""

from __future__ import annotations

import re
from typing import Final

from models.errors import ConfigError

_UNITS: Final = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_SIZE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Return bytes. `K`, `M`, `G` alone are powers of 1024. Raises ConfigError."""
    match = _SIZE.fullmatch(text)
    unit = None if match is None else _UNITS.get(match[2].upper())
    if match is None or unit is None:
        raise ConfigError(f"{text!r} is no size; write it as 2GiB, 500MB or a number of bytes")
    return int(float(match[1]) * unit)
