"""The use of the machine by others, measured by CPU time; and, for one load, a busy process of ours."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

DISTURBED = 0.05
"""A measurement counts as disturbed if others use more than this share of the machine."""

SAMPLE_S = 1.0


@dataclass(slots=True)
class CPUShare:
    """Return the share of all cores that processes but this one and its children used since `start`."""

    _ours: float
    _all: float
    _began: float

    @classmethod
    def start(cls) -> CPUShare:
        return cls(own_cpu_seconds(), busy_seconds(), time.perf_counter())

    def of_others(self) -> float:
        elapsed = time.perf_counter() - self._began
        foreign = (busy_seconds() - self._all) - (own_cpu_seconds() - self._ours)
        return max(0.0, foreign / (elapsed * (psutil.cpu_count() or 1)))


_SPIN = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""
"""The busy process runs this code: it ends with the benchmark, however that ends."""


def own_cpu_seconds() -> float:
    """Return the CPU time so far of this process and all below it: the client and every server it started."""
    process = psutil.Process()
    total = 0.0
    for member in [process, *process.children(recursive=True)]:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def cpu_seconds(pid: int) -> float:
    """Return the CPU time in seconds used so far by one process, without its children.

    Linux counts nanoseconds per thread; elsewhere the clock's ticks have to do, of some 10 ms.
    """
    tasks = Path(f"/proc/{pid}/task")
    if not (tasks / str(pid) / "schedstat").exists():
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    spent_ns = 0
    for task in tasks.iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            spent_ns += int((task / "schedstat").read_text().split()[0])
    return spent_ns / 1e9


def busy_seconds() -> float:
    """Return the CPU time so far of the whole machine."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def others_now() -> float:
    """Return the share of the machine that others use over `SAMPLE_S`."""
    share = CPUShare.start()
    time.sleep(SAMPLE_S)
    return share.of_others()


def wait_until_quiet(
    limit_s: float, sample: Callable[[], float] = others_now, clock: Callable[[], float] = time.monotonic
) -> tuple[float, bool]:
    """Wait until others use less than `DISTURBED`, at most `limit_s`; return (seconds, is it quiet)."""
    began = clock()
    while True:
        quiet = sample() < DISTURBED
        waited = clock() - began
        if quiet or waited >= limit_s:
            return waited, quiet


@contextmanager
def busy_process() -> Iterator[None]:
    """Run a process that keeps one core busy at normal priority for as long as the block runs."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", _SPIN]) as process:
        try:
            time.sleep(0.2)
            yield
        finally:
            process.kill()
