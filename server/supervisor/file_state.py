"""`FileState`: whether a model's file is still the one that was loaded. Reads sizes and times alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from models.gguf.info import split_paths

SETTLED_S = 2.0
"""A file that was written to so recently may not be whole yet."""


@dataclass(frozen=True, slots=True)
class FileState:
    """The identities of a file and, where it is split, of its other parts."""

    parts: tuple[tuple[int, int, int, int], ...]
    """Device, inode, size and time of the last change, in nanoseconds, of each part."""

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return the state now; None if a part is missing or can't be seen."""
        try:
            stats = [part.stat() for part in _parts(path)]
        except OSError:
            return None
        return cls(tuple((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats))

    def was_replaced(self, path: Path) -> bool:
        """True if there is another file now, whole as far as that can be told. One that is gone is none."""
        now = self.of(path)
        if now is None or now == self:
            return False
        changed_s = max(part[3] for part in now.parts) / 1e9
        return not 0 <= time.time() - changed_s < SETTLED_S


@lru_cache(maxsize=256)
def _parts(path: Path) -> tuple[Path, ...]:
    """Return the paths of a file's parts, which each request looks at."""
    return split_paths(path) or (path,)
