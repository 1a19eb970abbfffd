"""`AdaptiveThreads`: a number of threads for steps, fewer while other programs want the cores.

It is pure: times come from the caller. All threads wait for each other a thousand times a step. Where one of
them shares its core with another program, every step takes as long as the system leaves that thread waiting;
fewer threads, each with a core to itself, are then many times as quick. So when steps become slow, one thread
fewer (then two, four …) is tried for a few steps, and kept while that is quicker; from time to time one more
is tried.
"""

from __future__ import annotations

from statistics import median

SLOW = 2.5
"""Steps are slow, as with other programs on the cores, from this many times the quickest of their size."""
BETTER = 0.85
"""A trial wins if its steps take at most this fraction of the time of those before it."""
TRIAL_STEPS = 4
"""A trial has this many steps."""
MEAN_STEPS = 16
"""The moving average of slowness covers about this many steps, and no trial begins before as many."""
WAIT_S, LONGEST_WAIT_S, LONGEST_WAIT_FOR_MORE_S = 0.25, 16.0, 4.0
"""Seconds between trials: the first wait, and the longest after trials of fewer and of more threads.
Each lost trial doubles the wait."""
FORGETTING = 1.002
"""The quickest time of a size grows by this factor with each step: contexts grow."""
SIZES_MAX = 256
"""The quickest times of at most this many sizes are remembered."""


class AdaptiveThreads:
    """Gives `n_threads` for a step, and learns from the time recorded after it. One thread calls it."""

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._most = n_threads
        self._settled = n_threads
        self._quickest: dict[int, float] = {}
        self._mean: float | None = None
        """Moving average of (step time / quickest step of that size) with the settled number of threads."""
        self._n_steps = 0
        self._trial: list[float] = []
        self._tried_more = False
        self._fewer = 1
        """The next trial leaves out this many threads."""
        self._wait_s = WAIT_S
        self._next_trial_s = 0.0

    @property
    def n_threads(self) -> int:
        """The number of threads for the next step."""
        return self._n_threads

    def record(self, n_tokens: int, seconds: float, now_s: float) -> None:
        """Learn that a step of `n_tokens` with `n_threads` took `seconds` and ended at `now_s`."""
        known = n_tokens in self._quickest
        quickest = self._quickest.get(n_tokens, seconds)
        slowness = seconds / quickest
        if self._n_threads != self._settled:
            self._trial += [slowness] if known else []
            if len(self._trial) == TRIAL_STEPS or (known and slowness >= (self._mean or 0.0)):
                self._judge(now_s)
            return
        if len(self._quickest) >= SIZES_MAX:
            self._quickest.clear()
        self._quickest[n_tokens] = min(seconds, quickest * FORGETTING)
        self._n_steps += 1
        share = 1 / min(self._n_steps, MEAN_STEPS)
        self._mean = slowness if self._mean is None else (1 - share) * self._mean + share * slowness
        if self._n_steps >= MEAN_STEPS and now_s >= self._next_trial_s:
            slow = self._mean >= SLOW and self._settled > 1
            if self._settled < self._most and not (slow and self._tried_more):
                self._n_threads = self._settled + 1
            elif slow:
                self._n_threads = max(1, self._settled - self._fewer)
            self._tried_more = self._n_threads > self._settled

    def _judge(self, now_s: float) -> None:
        """Keep the threads of the trial, or go back and wait longer before the next one."""
        assert self._mean is not None
        slowness = max(self._trial) if len(self._trial) < TRIAL_STEPS else median(self._trial)
        more = self._n_threads > self._settled
        if slowness < BETTER * self._mean:
            self._settled, self._mean, self._n_steps = self._n_threads, slowness, 0
            self._wait_s, self._fewer = WAIT_S, 1
        else:
            longest = LONGEST_WAIT_FOR_MORE_S if more else LONGEST_WAIT_S
            self._wait_s = min(2 * self._wait_s, longest)
            self._fewer = self._fewer if more else 2 * self._fewer
        self._n_threads = self._settled
        self._trial = []
        self._next_trial_s = now_s + self._wait_s
