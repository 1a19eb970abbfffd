"""A compile's progress in one line, from the output of Ninja or Make. Pure: text in, text out."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NINJA = re.compile(r"^\s*\[(\d+)/(\d+)\]")
_MAKE = re.compile(r"^\s*\[\s*(\d+)%\]")


@dataclass(frozen=True)
class Progress:
    """`done` of `total` build steps (files, or per cent where only those are known)."""

    done: int
    total: int
    unit: str

    def describe(self, elapsed_s: float) -> str:
        """For example "compiling llama.cpp: 37/140 files, 1 min 20 s"."""
        amount = f"{self.done} %" if self.unit == "%" else f"{self.done}/{self.total} {self.unit}"
        return f"compiling llama.cpp: {amount}, {duration(elapsed_s)}"


def parse(line: str) -> Progress | None:
    """Return the progress in a line of build output; None if it has none."""
    match = _NINJA.match(line)
    if match:
        done, total = int(match[1]), int(match[2])
        return Progress(done, total, "files") if 0 <= done <= total and total > 0 else None
    match = _MAKE.match(line)
    if match and int(match[1]) <= 100:
        return Progress(int(match[1]), 100, "%")
    return None


def duration(seconds: float) -> str:
    """For example "45 s" or "1 min 20 s"."""
    whole = int(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
