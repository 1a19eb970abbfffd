"""`MeasuredGain`: whether guesses pay, by the clock, from steps with and without them. Pure.

The gain that is expected of guesses is a sum of parts, each measured by itself; here it is measured as a
whole, whatever else has its share in it. Medians count, as another program on a core makes a step many times
as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import sqrt
from statistics import median

from server.engine.sequence import Sequence

N_STEPS = 16
"""So many of the latest steps without guesses count."""
N_GUESSED_STEPS = 64
"""So many of the latest steps with guesses count: how many tokens one brings is chance, far more than what it
takes."""
N_ERRORS = 2.0
"""So many standard errors more than was seen may a step with guesses bring."""
ENOUGH_STEPS = 7
"""Nothing is said before as many steps of each kind."""


class MeasuredGain:
    """The time of a token with guesses and without, while one number of sequences generates."""

    __slots__ = ("_has_lost", "_with", "_without")

    def __init__(self) -> None:
        self._with: deque[tuple[float, int]] = deque(maxlen=N_GUESSED_STEPS)
        self._without: deque[float] = deque(maxlen=N_STEPS)
        self._has_lost = False

    def add(self, seconds: float, n_tokens: int, *, has_guesses: bool) -> None:
        """Learn from steps that brought `n_tokens`, one or more, in `seconds`, their drafts included."""
        if has_guesses:
            self._with.append((seconds, n_tokens))
        else:
            self._without.append(seconds / n_tokens)

    def judge(self) -> bool | None:
        """Return True if tokens come sooner with guesses, False if they don't, None while that isn't known.

        They have lost if they would have with `N_ERRORS` standard errors more tokens in a step, too, as this
        is asked at each step. Then they have until they are tried anew: how busy the machine is changes, and
        that tells nothing of steps with guesses that were earlier.
        """
        if self._has_lost:
            return False
        if min(len(self._with), len(self._without)) < ENOUGH_STEPS:
            return None
        most_tokens = _highest_mean([n_tokens for _, n_tokens in self._with])
        self._has_lost = median([seconds for seconds, _ in self._with]) > most_tokens * median(self._without)
        return not self._has_lost

    def forget_guesses(self) -> None:
        """Forget the steps with guesses: they are to be tried anew."""
        self._with.clear()
        self._has_lost = False


def _highest_mean(counts: list[int]) -> float:
    """Return the mean of two or more counts, and `N_ERRORS` standard errors of it more."""
    n = len(counts)
    mean = sum(counts) / n
    variance = (sum([count * count for count in counts]) - n * mean * mean) / (n - 1)
    return mean + N_ERRORS * sqrt(max(0.0, variance) / n)


class MeasuredGains:
    """The gain for each number of sequences, measured from one step's draft to a later one's.

    Steps count if the same sequences generate before and after them, and nothing else is computed.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._gains: dict[int, MeasuredGain] = {}
        self._now_s = self._start_s = 0.0
        self._ids: list[int] = []
        """The sequences of the steps under way; none: they don't count."""
        self._n_tokens = 0
        self._has_guesses = False

    def of(self, n_streams: int) -> MeasuredGain:
        """Return the gain while so many sequences generate."""
        gain = self._gains.get(n_streams)
        if gain is None:
            gain = self._gains[n_streams] = MeasuredGain()
        return gain

    def end_steps(self, running: list[Sequence]) -> None:
        """Learn from the steps that have ended, if they count. The next ones begin now."""
        self._now_s = self._clock_s()
        ids, self._ids = self._ids, []
        if not ids or ids != [sequence.id for sequence in running]:
            return
        n_tokens = sum([len(sequence.tokens) for sequence in running]) - self._n_tokens
        if n_tokens > 0:
            seconds = self._now_s - self._start_s
            self.of(len(running)).add(seconds, n_tokens, has_guesses=self._has_guesses)

    def begin_steps(self, running: list[Sequence], *, has_guesses: bool) -> None:
        """Note the steps that begin where the last ones ended, and whether guesses belong to them."""
        if all(sequence.n_pending == 1 for sequence in running):
            self._ids = [sequence.id for sequence in running]
            self._n_tokens = sum([len(sequence.tokens) for sequence in running])
            self._start_s, self._has_guesses = self._now_s, has_guesses
