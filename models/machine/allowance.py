"""`Allowance`: the time in which work for strangers may have a core as any other work has it. Pure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BURST_S = 0.2
"""So much is there after a pause: twenty usual grammars, or forty long chats."""
SHARE = 0.005
"""So much of each second is added. Slower steps within it are too few to be the slowest one in a hundred."""


class Allowance:
    """A store of seconds that fills slowly. Thread-safe.

    Honest requests take milliseconds, and find them here. A flood of dear ones empties it, and gives way to
    the threads that decode from then on.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic, burst_s: float = BURST_S) -> None:
        self._clock_s = clock_s
        self._burst_s = burst_s
        self._lock = threading.Lock()
        self._seconds = burst_s
        self._at_s = clock_s()

    def offer(self) -> float:
        """Return the seconds that one piece of work may take: half of those there are, so none takes all."""
        with self._lock:
            self._fill()
            return self._seconds / 2

    def spend(self, seconds: float) -> None:
        """Take out what a piece of work took of its offer."""
        with self._lock:
            self._fill()
            self._seconds = max(0.0, self._seconds - seconds)

    def _fill(self) -> None:
        now_s = self._clock_s()
        self._seconds = min(self._burst_s, self._seconds + SHARE * (now_s - self._at_s))
        self._at_s = now_s
