"""`MeasuredGain`: whether guesses pay, by the clock, from steps with and without them. Pure.

The gain that is expected of guesses is a sum of parts, each measured by itself; here it is measured as a
whole, whatever else has its share in it. Medians count, as another program on a core makes a step many times
as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, median

from server.engine.sequence import Sequence

N_STEPS = 16
"""So many of the latest steps of each kind count."""
ENOUGH_STEPS = 7
"""Nothing is said before as many steps of each kind."""
WORTH = 1.03
"""Guesses pay if they bring at least so many times the tokens per second."""


class MeasuredGain:
    """The time of a token with guesses and without, while one number of sequences generates."""

    __slots__ = ("_has_lost", "_with", "_without")

    def __init__(self) -> None:
        self._with: deque[tuple[float, int]] = deque(maxlen=N_STEPS)
        self._without: deque[float] = deque(maxlen=N_STEPS)
        self._has_lost = False

    def add(self, seconds: float, n_tokens: int, *, has_guesses: bool) -> None:
        """Learn from a step that brought `n_tokens`, one or more, in `seconds`, its draft included."""
        if has_guesses:
            self._with.append((seconds, n_tokens))
        else:
            self._without.append(seconds / n_tokens)

    def judge(self) -> bool | None:
        """Return True if tokens come sooner with guesses, False if they don't, None while that isn't known.

        Guesses that have lost have lost until they are tried anew: how busy the machine is changes, and that
        tells nothing of steps with guesses that were earlier.
        """
        if self._has_lost:
            return False
        if min(len(self._with), len(self._without)) < ENOUGH_STEPS:
            return None
        token_s = median([seconds for seconds, _ in self._with]) / mean([n for _, n in self._with])
        self._has_lost = WORTH * token_s > median(self._without)
        return not self._has_lost

    def forget_guesses(self) -> None:
        """Forget the steps with guesses: they are to be tried anew."""
        self._with.clear()
        self._has_lost = False


@dataclass(frozen=True, slots=True)
class _Step:
    """A step under way: when it began, whose it is, and the tokens that they had then."""

    start_s: float
    ids: list[int]
    n_tokens: int
    has_guesses: bool


class MeasuredGains:
    """The gain for each number of sequences, measured from one step's draft to the next one's.

    A step counts if the same sequences generate before and after it, and nothing else is computed.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._gains: dict[int, MeasuredGain] = {}
        self._step: _Step | None = None
        self._now_s = 0.0

    def of(self, n_streams: int) -> MeasuredGain:
        """Return the gain while so many sequences generate."""
        return self._gains.setdefault(n_streams, MeasuredGain())

    def end_step(self, running: list[Sequence]) -> None:
        """Learn from the step that has ended, if it counts. The next one begins now."""
        self._now_s = self._clock_s()
        step, self._step = self._step, None
        if step is None or step.ids != [sequence.id for sequence in running]:
            return
        n_tokens = sum([len(sequence.tokens) for sequence in running]) - step.n_tokens
        if n_tokens > 0:
            seconds = self._now_s - step.start_s
            self.of(len(running)).add(seconds, n_tokens, has_guesses=step.has_guesses)

    def begin_step(self, running: list[Sequence], *, has_guesses: bool) -> None:
        """Note the step that began when the last one ended, and whether guesses belong to it."""
        if running and all(sequence.n_pending == 1 for sequence in running):
            n_tokens = sum([len(sequence.tokens) for sequence in running])
            self._step = _Step(self._now_s, [sequence.id for sequence in running], n_tokens, has_guesses)
