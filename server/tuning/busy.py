"""What else uses the processor: one busy process of ours, as a browser or a compiler is, or others."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

START_S = 0.08
"""What an interpreter takes to begin."""

BUSY_CORES = 0.3
"""From here on a machine isn't quiet."""

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
    """Runs it for as long as the block does."""
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
    """How many cores the whole machine used in the next `seconds`, of which it waits."""
    return psutil.cpu_percent(seconds) / 100.0 * (psutil.cpu_count() or 1)
