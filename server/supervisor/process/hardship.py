"""`ProcessWatcher`: a process's state, and how much of a time the system let it compute.

Linux tells all of it. Elsewhere a process is stopped or not, and has all the time that passes.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

FAULTS_PER_S = 10.0
"""A process that reads so many pages a second from the disk is slow for that, and goes on."""
LEAST_SHARE = 0.1
"""This part of a time in which others had the processors counts in any case: a thread that spins for ever
among many programs waits for a processor for ever, too."""

_TRACER = re.compile(rb"^TracerPid:\t(\d+)", re.MULTILINE)
_STATE = re.compile(rb"^State:\t(\w)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Condition:
    """A process is stopped by a signal, is debugged, or neither."""

    is_stopped: bool = False
    is_debugged: bool = False


@dataclass(frozen=True, slots=True)
class Hardship:
    """The delays that a process has suffered since it began."""

    n_faults: int = 0
    """Pages that it had to wait for until they were read from a disk."""
    waits_s: dict[int, float] = field(default_factory=dict)
    """By thread, the time in which it could have gone on and had no processor."""


class ProcessWatcher:
    """Reads what the system knows of one process. A process that is gone is neither stopped nor waits."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._pid = pid
        self._folder = proc / str(pid)
        self._has_proc = proc.is_dir()

    def condition(self) -> Condition:
        """Return its state at this moment; a few dozen microseconds."""
        if not self._has_proc:
            try:
                return Condition(psutil.Process(self._pid).status() == psutil.STATUS_STOPPED)
            except psutil.Error:
                return Condition()
        try:
            status = (self._folder / "status").read_bytes()
        except OSError:
            return Condition()
        state, tracer = _STATE.search(status), _TRACER.search(status)
        is_debugged = (tracer is not None and int(tracer[1]) != 0) or (state is not None and state[1] == b"t")
        return Condition(state is not None and state[1] == b"T", is_debugged)

    def hardship(self) -> Hardship:
        """Return what it has suffered so far; ten microseconds for each thread."""
        return Hardship(self._faults(), self._waits_s())

    def _faults(self) -> int:
        try:
            # The name, in parentheses, may have anything in it; behind it are the state and 9 numbers more.
            return int((self._folder / "stat").read_bytes().rpartition(b")")[2].split()[9])
        except (OSError, IndexError, ValueError):
            return 0

    def _waits_s(self) -> dict[int, float]:
        """Return what the kernel tells of the threads there are; kernels may be built without it."""
        waits_s = {}
        try:
            for task in (self._folder / "task").iterdir():
                with suppress(OSError, IndexError, ValueError):  # a thread may end meanwhile
                    waits_s[int(task.name)] = int((task / "schedstat").read_bytes().split()[1]) / 1e9
        except OSError:
            pass
        return waits_s


def fair_share(before: Hardship, after: Hardship, elapsed_s: float) -> float:
    """Return the part of `elapsed_s` between the two in which the process could compute."""
    if elapsed_s <= 0.0:
        return 0.0
    if after.n_faults - before.n_faults >= FAULTS_PER_S * elapsed_s:
        return 0.0
    waits_s = (wait_s - before.waits_s.get(thread, wait_s) for thread, wait_s in after.waits_s.items())
    return min(1.0, max(LEAST_SHARE, 1.0 - max(waits_s, default=0.0) / elapsed_s))
