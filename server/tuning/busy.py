"""Other use of the processor: one busy process of ours, as a browser or a compiler is, or others'."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

START_S = 0.08
"""An interpreter takes this many seconds to begin."""

BUSY_CORES = 0.3
"""A machine isn't quiet if other processes use more than this many cores."""

# Ends by itself when its parent has, and after some minutes whatever happens.
_CODE = """
import os, time
parent, end = os.getppid(), time.monotonic() + 300
while os.getppid() == parent and time.monotonic() < end:
    for _ in range(100_000):
        pass
"""


@contextmanager
def busy_process() -> Iterator[None]:
    """Run a process that keeps a core busy, for as long as the block runs."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CODE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        time.sleep(START_S)
        yield
    finally:
        process.kill()
        process.wait()


def cores_in_use(seconds: float = 1.0) -> float:
    """Wait for `seconds`, and return how many cores the whole machine used meanwhile."""
    return psutil.cpu_percent(seconds) / 100.0 * (psutil.cpu_count() or 1)
