"""How many threads compute a step, while other programs want the cores too. Pure; times come from the caller.

All threads wait for each other a thousand times a step. Where one of them shares its core with another
program, every step takes as long as the system leaves that thread waiting; fewer threads, each with a core to
itself, are then many times as quick. So when steps become slow, one thread fewer (then two, four …) is tried
for a few steps, and kept while that is quicker; from time to time one more is tried.
"""

from __future__ import annotations

from statistics import median

SLOW = 2.5
"""Steps that take so many times the quickest of their size may have company."""
BETTER = 0.85
"""Of the time of the steps before: what the steps of a trial may take at most to win."""
TRIAL_STEPS = 4
MEAN_STEPS = 16
WAIT_S, LONGEST_WAIT_S, LONGEST_WAIT_FOR_MORE_S = 0.25, 16.0, 4.0
FORGETTING = 1.002
"""By which the quickest step of a size gets slower with each step: contexts grow."""
SIZES_MAX = 256


class ThreadChoice:
    """Ask for `threads` before a step and tell what it `took`. One thread calls it."""

    def __init__(self, n_threads: int) -> None:
        self.threads = n_threads
        self._most = n_threads
        self._settled = n_threads
        self._quickest: dict[int, float] = {}
        self._mean: float | None = None
        """Of the settled number of threads: time over the quickest of the step's size."""
        self._n_steps = 0
        self._trial: list[float] = []
        self._tried_more = False
        self._fewer = 1
        """Threads to leave out in the next trial."""
        self._wait_s = WAIT_S
        self._next_trial_s = 0.0

    def took(self, n_tokens: int, seconds: float, now_s: float) -> None:
        """A step of `n_tokens` with `threads` took `seconds`; `threads` is then for the next."""
        known = n_tokens in self._quickest
        quickest = self._quickest.get(n_tokens, seconds)
        slowness = seconds / quickest
        if self.threads != self._settled:
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
                self.threads = self._settled + 1
            elif slow:
                self.threads = max(1, self._settled - self._fewer)
            self._tried_more = self.threads > self._settled

    def _judge(self, now_s: float) -> None:
        """Keep what was tried, or go back, and wait the longer before the next trial."""
        assert self._mean is not None
        found = max(self._trial) if len(self._trial) < TRIAL_STEPS else median(self._trial)
        more = self.threads > self._settled
        if found < BETTER * self._mean:
            self._settled, self._mean, self._n_steps = self.threads, found, 0
            self._wait_s, self._fewer = WAIT_S, 1
        else:
            longest = LONGEST_WAIT_FOR_MORE_S if more else LONGEST_WAIT_S
            self._wait_s = min(2 * self._wait_s, longest)
            self._fewer = self._fewer if more else 2 * self._fewer
        self.threads = self._settled
        self._trial = []
        self._next_trial_s = now_s + self._wait_s
