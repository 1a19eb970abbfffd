"""`Vigil`: tells whether a worker is stopped, stuck or silent, and has to be replaced."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from server.ipc.pulse import N_JOBS, Beat
from server.supervisor.policy import Policy
from server.supervisor.process.hardship import Hardship, ProcessWatcher, fair_share


class _Standstill:
    """The time for which one beat has been a worker's last. Only that counts in which it could compute."""

    def __init__(self, watcher: ProcessWatcher) -> None:
        self.beat: Beat | None = None
        self.all_s = 0.0
        self._watcher = watcher
        self._counted_s = 0.0
        self._hardship: Hardship | None = None
        """The worker's delays until the last look, if the beat is a long one."""

    def is_too_long(self, beat: Beat, elapsed_s: float) -> bool:
        """Look at the beat of this moment; return True if it has been there for longer than it may."""
        if beat != self.beat:
            self.beat, self.all_s, self._counted_s, self._hardship = beat, 0.0, 0.0, None
            return False
        if math.isinf(beat.limit_s):
            return False
        hardship = self._watcher.hardship()
        share = 1.0 if self._hardship is None else fair_share(self._hardship, hardship, elapsed_s)
        self._hardship = hardship
        self._counted_s += share * elapsed_s
        self.all_s += elapsed_s
        return self._counted_s > beat.limit_s


class Vigil:
    """The times for which one worker has been stopped, in one step, and silent; `verdict` is a look at it.

    Times are sums of the intervals between looks, each counted for two of the usual ones at most: what passes
    while the machine sleeps, or this process is stopped itself, says nothing of the worker. Neither does what
    passes while a debugger has it. Of a step's time only that counts in which the system let it compute.
    """

    def __init__(
        self, policy: Policy, watcher: ProcessWatcher, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = policy
        self._watcher = watcher
        self._clock_s = clock_s
        self._looked_s = clock_s()
        self._n_messages = 0
        self._silent_s = 0.0
        self._stopped_s: float | None = None
        """It has been stopped for so long, None while it isn't."""
        self._step = _Standstill(watcher)
        self._jobs = [_Standstill(watcher) for _ in range(N_JOBS)]

    def verdict(
        self, beat: Beat, n_messages: int, *, has_work: bool, jobs: Sequence[Beat] = ()
    ) -> str | None:
        """Return the reason to kill the worker, or None.

        `beat` is its engine's, `jobs` are those of the threads that prepare requests; `n_messages` have come
        from it so far.
        """
        now_s = self._clock_s()
        elapsed_s = min(now_s - self._looked_s, 2 * self._policy.look_s)
        self._looked_s = now_s
        condition = self._watcher.condition()
        if condition.is_debugged:
            self._silent_s, self._stopped_s = 0.0, None
            for each in (self._step, *self._jobs):
                each.beat = None
            return None
        return (
            self._stopped(elapsed_s, is_stopped=condition.is_stopped)
            or self._stuck(beat, elapsed_s)
            or self._stuck_aside(jobs, elapsed_s)
            or self._silent(n_messages, elapsed_s, has_work=has_work)
        )

    def _stopped(self, elapsed_s: float, *, is_stopped: bool) -> str | None:
        if not is_stopped:
            self._stopped_s = None
            return None
        self._stopped_s = 0.0 if self._stopped_s is None else self._stopped_s + elapsed_s
        if self._stopped_s < self._policy.stopped_after_s:
            return None
        return f"it was stopped (SIGSTOP) for {self._stopped_s:.0f} s and was killed"

    def _stuck(self, beat: Beat, elapsed_s: float) -> str | None:
        if not self._step.is_too_long(beat, elapsed_s):
            return None
        if not beat.n_tokens:
            return f"it has not gone on for {self._step.all_s:.0f} s and was killed"
        expected = f", which should take {_time(beat.expected_s)}," if beat.expected_s else ""
        return f"a step of {_tokens(beat.n_tokens)}{expected} took {self._step.all_s:.0f} s and it was killed"

    def _stuck_aside(self, jobs: Sequence[Beat], elapsed_s: float) -> str | None:
        late = [
            each for each, beat in zip(self._jobs, jobs, strict=False) if each.is_too_long(beat, elapsed_s)
        ]
        if not late:
            return None
        return f"it was at the text of one request for {late[0].all_s:.0f} s and was killed"

    def _silent(self, n_messages: int, elapsed_s: float, *, has_work: bool) -> str | None:
        if n_messages != self._n_messages or not has_work:
            self._n_messages, self._silent_s = n_messages, 0.0
            return None
        self._silent_s += elapsed_s
        limit_s = self._policy.hang_after_s
        if limit_s is None or self._silent_s <= limit_s:
            return None
        return f"it gave no sign of life for {self._silent_s:.0f} s and was killed"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _tokens(n_tokens: int) -> str:
    return "1 token" if n_tokens == 1 else f"{n_tokens:,} tokens"
