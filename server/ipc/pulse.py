"""`Pulse`: the step that a worker's engine is in, and the jobs of its other threads, in shared memory.

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
_JOB = struct.Struct("<Qd")
N_JOBS = 10
"""So many threads of a worker prepare requests, each with a place of its own in the memory."""
JOB_LIMIT_S = 600.0
"""A thread may prepare one request for so long. What it leaves to other processes has limits of its own, and
the longest text that is taken is tokenized in seconds, so only native code that doesn't end gets there."""
BUSY_LIMIT_S = 600.0
"""Anything that isn't a step, such as a part of a load, may take so long."""

_BYTES = _FORM.size + N_JOBS * _JOB.size


@dataclass(frozen=True, slots=True)
class Beat:
    """A moment of the engine, or of a thread that prepares requests, and the latest of its."""

    number: int
    n_tokens: int
    """The tokens of the step, 0 for what is no step."""
    expected_s: float
    """The step should take so long; 0: that isn't known."""
    limit_s: float
    """Beyond so many seconds it counts as a hang; infinite while the worker waits for work."""


class Pulse:
    """One worker's pulse. The API process makes it and reads it.

    The worker opens it by its descriptor; there each place is written by one thread alone, the first by the
    engine's.
    """

    def __init__(self, fd: int = -1) -> None:
        """Takes the descriptor over. -1: memory that nobody else reads."""
        self.fd = fd
        self._memory = mmap.mmap(fd, _BYTES)
        self._number = 0
        self._job_numbers = [0] * N_JOBS

    @classmethod
    def make(cls) -> Pulse:
        """Return a new one, at rest."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("corral-pulse", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        try:
            os.ftruncate(fd, _BYTES)
            pulse = cls(fd)
        except BaseException:  # the descriptor is ours alone
            os.close(fd)
            raise
        pulse.rest()
        for place in range(N_JOBS):
            pulse.end_job(place)
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

    def begin_job(self, place: int) -> None:
        """Say that the thread of this place, from 0, begins to prepare a request."""
        self._write_job(place, JOB_LIMIT_S)

    def end_job(self, place: int) -> None:
        """Say that the thread of this place waits for the next one."""
        self._write_job(place, math.inf)

    def _write_job(self, place: int, limit_s: float) -> None:
        self._job_numbers[place] += 1
        _JOB.pack_into(self._memory, _job_offset(place), self._job_numbers[place], limit_s)

    def read(self) -> Beat:
        """Return what the engine said last."""
        return Beat(*_FORM.unpack_from(self._memory, 0))

    def read_jobs(self) -> list[Beat]:
        """Return what each of the threads that prepare requests said last."""
        jobs = (_JOB.unpack_from(self._memory, _job_offset(place)) for place in range(N_JOBS))
        return [Beat(number, 0, 0.0, limit_s) for number, limit_s in jobs]

    def close(self) -> None:
        """Give the memory and the descriptor back; harmless when repeated."""
        self._memory.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _job_offset(place: int) -> int:
    return _FORM.size + place * _JOB.size
