"""`StepCost`: the time of a step by its tokens, learned from the steps, for budgets and draft lengths."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

_WEIGHT = 0.2
"""A new measurement has this weight in a moving average: a single disturbed step changes little. The first
few measurements weigh alike; what was expected of a size counts as one of them."""
_CHANGE_WEIGHT = 0.1
"""The weight of a new measurement in the average of what a change of size takes."""
_DISTURBED = 2.0
"""A measurement counts as at most so many times what is known: another program had a core meanwhile."""
_EXACT_MAX = 128
"""Steps of up to so many tokens have an average for each size: kernels make their cost jump."""
_CHUNK_MIN = 16
"""A step with at least so many prompt tokens shows what a prompt token costs."""
_STALE_AFTER = 2_000
"""The time of a size that didn't come again for so many steps is forgotten: the size is tried again."""


class StepCost:
    """Moving averages in seconds: of a step of n tokens without prompts, and of one more prompt token."""

    def __init__(self, measured: Sequence[tuple[int, float]] = ()) -> None:
        """`measured`: (tokens, seconds) of steps that were tried before the first request; each counts as one
        measurement. What the largest takes beyond the next is a first guess of what prompts' tokens cost."""
        self._seconds = {n_tokens: seconds for n_tokens, seconds in measured if seconds > 0.0}
        self._sizes = sorted(self._seconds)
        self._n_times = dict.fromkeys(self._sizes, 1)
        self._last_step = dict.fromkeys(self._sizes, 0)
        self._change_s = 0.0
        """A step of another size than the one before takes so many seconds more: its graph is made anew."""
        self._last_size: int | None = None
        self.n_steps = 0
        """The number of steps that it has learned from."""
        self.prompt_token_s: float | None = None
        """One more prompt token in a step takes so many seconds; None until it was measured."""
        self.between_s: float | None = None
        """The seconds from one step's computing to the next one's, without drafts; None until measured."""
        self._n_chunks = 0
        if len(self._sizes) > 1:
            self._add_prompt_token(self._last_token_s())
        for size in reversed(self._sizes):
            self._bound_smaller(size)

    def add(self, n_tokens: int, n_prompt: int, seconds: float, n_passes: int = 1) -> None:
        """Learn from a step of `n_tokens`, `n_prompt` of them prompts', that took `seconds`.

        More than one of `n_passes` don't show what that size costs in one.
        """
        self.n_steps += 1
        if seconds <= 0.0:
            return  # the clock is too coarse
        if n_prompt >= _CHUNK_MIN:
            others_s = self.estimate(n_tokens - n_prompt) or 0.0
            self._add_prompt_token(max(seconds - others_s, 0.1 * seconds) / n_prompt)
        elif n_tokens <= _EXACT_MAX and not n_prompt and n_passes <= 1:
            self._add_exact(n_tokens, self._without_change(n_tokens, seconds))
        self._last_size = n_tokens
        if self.n_steps % _STALE_AFTER == 0:
            self._forget_stale()

    def add_between(self, seconds: float) -> None:
        """Learn what passed between two steps without drafts: whatever a step has, it is spent once.

        It is without what a proposer took, if it was asked and said nothing.
        """
        known = self.between_s
        if known is None:
            self.between_s = seconds
        else:
            known = min(known, _DISTURBED * max(0.0, seconds))  # what seemed longer was disturbed
            self.between_s = known + _WEIGHT * (min(seconds, _DISTURBED * known) - known)

    def _add_prompt_token(self, seconds: float) -> None:
        old = self.prompt_token_s
        weight = max(_WEIGHT, 1.0 / (self._n_chunks + 1))
        self.prompt_token_s = seconds if old is None else old + weight * (seconds - old)
        self._n_chunks += 1

    def _last_token_s(self) -> float:
        """Return the seconds of one token more, as the two largest sizes show it."""
        small, large = self._sizes[-2:]
        large_s = self._seconds[large]
        return max((large_s - self._seconds[small]) / (large - small), 0.1 * large_s / large)

    def change_s(self, n_tokens: int) -> float:
        """Return the seconds that a step of so many tokens takes in addition, if the last one had others."""
        return 0.0 if self._last_size in (None, n_tokens) else max(0.0, self._change_s)

    def _without_change(self, n_tokens: int, seconds: float) -> float:
        """Return what such a step would have taken after another of its size, and learn the difference."""
        known = self._seconds.get(n_tokens)
        if self._last_size in (None, n_tokens) or known is None:
            return seconds
        self._change_s += _CHANGE_WEIGHT * (min(seconds - known, known) - self._change_s)
        return seconds - min(max(0.0, self._change_s), seconds / 2)

    def _add_exact(self, n_tokens: int, seconds: float) -> None:
        known, n_times = self._seconds.get(n_tokens), self._n_times.get(n_tokens, 0)
        if known is None:
            known = self._expected(n_tokens)
            n_times = 0 if known is None else 1
            bisect.insort(self._sizes, n_tokens)
        else:
            seconds = min(seconds, _DISTURBED * known)
        weight = max(_WEIGHT, 1.0 / (n_times + 1))
        self._seconds[n_tokens] = seconds if known is None else known + weight * (seconds - known)
        self._bound_smaller(n_tokens)
        self._n_times[n_tokens] = n_times + 1
        self._last_step[n_tokens] = self.n_steps

    def _bound_smaller(self, n_tokens: int) -> None:
        """Let no smaller step take longer: one that seems to was disturbed, or all have become quicker."""
        most = self._seconds[n_tokens]
        for size in self._sizes[: bisect.bisect_left(self._sizes, n_tokens)]:
            self._seconds[size] = min(self._seconds[size], most)

    def _expected(self, n_tokens: int) -> float | None:
        """Return the seconds to expect of a size that wasn't measured; None if other sizes don't show it."""
        if not self._sizes or n_tokens < self._sizes[0]:
            return None
        if n_tokens > self._sizes[-1] and self.prompt_token_s is None:
            return None
        return self.estimate(n_tokens)

    def estimate(self, n_tokens: int) -> float | None:
        """Return the seconds of a step of `n_tokens`; None while nothing was measured.

        Between two measured sizes the estimate is on the line between them. Beyond the largest each token
        costs what one of a prompt does; below the smallest it is in proportion to that one's: rather too
        little, so that a search for the best size tries it once.
        """
        if n_tokens <= 0:
            return 0.0
        exact = self._seconds.get(n_tokens)
        if exact is not None or not self._sizes:
            return exact
        at = bisect.bisect(self._sizes, n_tokens)
        if at == 0:
            return self._seconds[self._sizes[0]] * n_tokens / self._sizes[0]
        below = self._sizes[at - 1]
        if at == len(self._sizes):
            return self._seconds[below] + (n_tokens - below) * (self.prompt_token_s or 0.0)
        above = self._sizes[at]
        low, high = self._seconds[below], self._seconds[above]
        return low + (high - low) * (n_tokens - below) / (above - below)

    def prompt_tokens_within(self, seconds: float, n_others: int) -> int | None:
        """Return the prompt tokens that fit a step of `seconds` with `n_others` more; None while unknown."""
        if self.prompt_token_s is None:
            return None
        left = seconds - (self.estimate(n_others) or 0.0)
        return max(0, int(left / self.prompt_token_s))

    def _forget_stale(self) -> None:
        for size in [size for size, step in self._last_step.items() if self.n_steps - step > _STALE_AFTER]:
            del self._seconds[size], self._last_step[size], self._n_times[size]
            self._sizes.remove(size)
