"""`Pulse`: the step that a worker's engine is in, in memory that it shares with the API process.

A write takes half a microsecond, sends no message and wakes nobody, and can be read while the worker is
stopped, or stuck in native code with Python's lock. A reader may catch a write half done: what it reads then
isn't there at its next look, which is all that it goes by.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import tempfile
from dataclasses import dataclass

_FORM = struct.Struct("<QQdd")
BUSY_LIMIT_S = 600.0
"""Anything that isn't a step, such as a part of a load, may take so long."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A moment of the engine: since it began there has been no other."""

    number: int
    n_tokens: int
    """The tokens of the step, 0 for what is no step."""
    expected_s: float
    """The step should take so long; 0: that isn't known."""
    limit_s: float
    """Beyond so many seconds it counts as a hang; infinite while the worker waits for work."""


class Pulse:
    """One worker's pulse. The API process makes it and reads it.

    The worker opens it by its descriptor; there the engine's thread alone writes.
    """

    def __init__(self, fd: int = -1) -> None:
        """Takes the descriptor over. -1: memory that nobody else reads."""
        self.fd = fd
        self._memory = mmap.mmap(fd, _FORM.size)
        self._number = 0

    @classmethod
    def make(cls) -> Pulse:
        """Return a new one, at rest."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("corral-pulse", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        try:
            os.ftruncate(fd, _FORM.size)
            pulse = cls(fd)
        except BaseException:  # the descriptor is ours alone
            os.close(fd)
            raise
        pulse.rest()
        return pulse

    def begin(self, n_tokens: int, expected_s: float, limit_s: float) -> None:
        """Say that a step begins."""
        self._number += 1
        _FORM.pack_into(self._memory, 0, self._number, n_tokens, expected_s, limit_s)

    def busy(self) -> None:
        """Say that something begins that is no step; so a step ends, too."""
        self.begin(0, 0.0, BUSY_LIMIT_S)

    def rest(self) -> None:
        """Say that the engine waits for work."""
        self.begin(0, 0.0, math.inf)

    def read(self) -> Beat:
        """Return what the worker said last."""
        return Beat(*_FORM.unpack_from(self._memory, 0))

    def close(self) -> None:
        """Give the memory and the descriptor back; harmless when repeated."""
        self._memory.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
