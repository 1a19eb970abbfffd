"""`QuickWriter`: writes a single entry in the event loop, in less time than a change of threads takes.

In write-ahead mode a short transaction is copied to memory that no end of this process takes, and waits for
no disk: some 50 microseconds, where the way through a thread takes three times as long, and many times on a
machine whose cores are busy. Whatever might take longer is left to the thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from models.errors import StoreError
from server.usage.database import UsageDatabase
from server.usage.entry import UsageEntry

AT_MOST = 250
"""After so many entries the thread has the next, which moves what was written into the file proper."""
SLOW_S = 0.02
"""A write that takes longer holds up others: the file may be on another machine, or the disk be busy."""
PAUSE_S = 10.0
"""After a slow one, or one that can't be written, the thread writes for so long."""


class QuickWriter:
    """Belongs to the event loop's thread. It begins once the thread has written: then the file is there."""

    def __init__(self, path: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now_s = now_s
        self._database: UsageDatabase | None = None
        self._n_left = 0
        """So many entries may still be written here before the thread has one."""
        self._again_s = float("-inf")
        """From this time on it writes."""

    def allow(self) -> None:
        """Write here from now on, for a while: the thread has just written."""
        self._n_left = AT_MOST

    def write(self, entry: UsageEntry) -> bool:
        """Return True if the entry is in the file now; False: nothing has been written. Waits for no lock."""
        if not self._n_left or self._now_s() < self._again_s:
            return False
        self._n_left -= 1
        begun_s = self._now_s()
        try:
            if self._database is None:
                self._database = UsageDatabase(self._path, checkpoints=False)
                begun_s = self._now_s()
            self._database.renew(0.0)
            self._database.add([entry])
        except StoreError:  # somebody writes, or the thread will find the same and say so
            self._again_s = begun_s + PAUSE_S
            return False
        end_s = self._now_s()
        if end_s - begun_s > SLOW_S:
            self._again_s = end_s + PAUSE_S
        return True

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self._database is not None:
            self._database.close()
            self._database = None
