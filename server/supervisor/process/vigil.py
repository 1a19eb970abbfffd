"""`Vigil`: tells whether a worker is stopped or silent for so long that it has to be replaced."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from server.supervisor.policy import Policy


def process_status(pid: int) -> str | None:
    """Return psutil's word for the state of a process; None once it is gone."""
    try:
        return psutil.Process(pid).status()
    except psutil.Error:
        return None


class Vigil:
    """The times since when one worker is stopped, and silent. `verdict` is asked at each heartbeat."""

    def __init__(
        self,
        policy: Policy,
        pid: int,
        clock_s: Callable[[], float] = time.monotonic,
        status: Callable[[int], str | None] = process_status,
    ) -> None:
        self._policy = policy
        self._pid = pid
        self._clock_s = clock_s
        self._status = status
        self._n_messages = 0
        self._heard_s = self._looked_s = clock_s()
        self._stopped_s: float | None = None
        """The time at which it was first seen as stopped, None while it isn't."""

    def verdict(self, n_messages: int, *, has_work: bool) -> str | None:
        """Return the reason to kill the worker, or None. `n_messages` have come from it so far."""
        now_s = self._clock_s()
        # Where this process itself was stopped meanwhile, nothing follows from the time that has passed.
        elapsed_s = now_s - self._looked_s
        if elapsed_s > 3 * self._policy.heartbeat_s:
            self._heard_s += elapsed_s - self._policy.heartbeat_s
            self._stopped_s = None
        self._looked_s = now_s
        if self._status(self._pid) != psutil.STATUS_STOPPED:
            self._stopped_s = None
        elif self._stopped_s is None:
            self._stopped_s = now_s
        if n_messages != self._n_messages or not has_work:
            self._n_messages, self._heard_s = n_messages, now_s
        if self._stopped_s is not None and now_s - self._stopped_s >= self._policy.stopped_after_s:
            return f"it was stopped (SIGSTOP) for {now_s - self._stopped_s:.0f} s and was killed"
        silent_s = now_s - self._heard_s
        if self._policy.hang_after_s is not None and silent_s > self._policy.hang_after_s:
            return f"it gave no sign of life for {silent_s:.0f} s and was killed"
        return None
