"""`PairedRunner`: two candidates measured side by side, and the verdict on their gains.

Every load runs on the one candidate, then at once on the other, so that what slows the machine slows both; a
round gives one gain. The spread between rounds is the noise: first measured with the defaults against
themselves, in two processes, then also in each comparison. A candidate is better when the lower end of its
mean gain's confidence interval (one-sided, 95 %) is above 0 and the mean at least `GAIN_MIN`; it is given up
as soon as the upper end is below `GAIN_MIN`. `judge` and the statistics are pure.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum

from server.tuning.plan import Plan, first_request, make_plan
from server.tuning.session import Session
from server.tuning.settings import Settings
from server.tuning.workload import Load, Workload

Open = Callable[[Settings], Session]
Busy = Callable[[], AbstractContextManager[None]]

Seconds = dict[Load, float]
"""The time of each load."""


class PairedRunner:
    """Opens sessions as they are needed and keeps at most two, or one if memory has no room for more.

    `close` ends them all. With room for two, the candidates alternate load by load, otherwise round by round.
    """

    def __init__(self, workload: Workload, open_: Open, busy: Busy, *, room_for_two: bool = True) -> None:
        self.workload = workload
        self._open = open_
        self._busy = busy
        self._room_for_two = room_for_two
        self._sessions: dict[tuple[Settings, int], Session] = {}
        self._plan: Plan | None = None

    def plan(self, settings: Settings) -> Plan:
        """Return the amount to measure, learnt with `settings`; later calls return the same."""
        if self._plan is None:
            session = self._session((settings, 0))
            first = {}
            for streams in self.workload.streams:
                session.measure(first_request(streams, self.workload))
                first[streams] = session.measure(first_request(streams, self.workload))
            self._plan = make_plan(self.workload, first)
        return self._plan

    def round(self, one: Settings, other: Settings, *, other_first: bool) -> tuple[Seconds, Seconds]:
        """Return the seconds of every load for both. Equal settings get a process each.

        Raises WorkerDied or LlamaCppError when one of them fails; it is closed then.
        """
        plan = self.plan(one)
        keys = [(one, 0), (other, int(other == one))]
        order = [1, 0] if other_first else [0, 1]
        seconds: tuple[Seconds, Seconds] = ({}, {})
        if self._room_for_two:
            for key in keys:
                self._session(key)  # loaded before anything is timed
            for load in self.workload.loads:
                with self._busy() if load.busy else nullcontext():
                    for side in order:
                        seconds[side][load] = self._measure(keys[side], load, plan)
        else:
            for side in order:
                for load in self.workload.loads:
                    with self._busy() if load.busy else nullcontext():
                        seconds[side][load] = self._measure(keys[side], load, plan)
        return seconds

    def forget(self, settings: Settings) -> None:
        """Close the sessions of `settings`."""
        for key in [key for key in self._sessions if key[0] == settings]:
            self._sessions.pop(key).close()

    def close(self) -> None:
        """Close all sessions."""
        while self._sessions:
            self._sessions.popitem()[1].close()

    def _measure(self, key: tuple[Settings, int], load: Load, plan: Plan) -> float:
        try:
            return plan.seconds(load, self._session(key).measure(plan.request(load)))
        except BaseException:  # after any error its state isn't known
            if key in self._sessions:
                self._sessions.pop(key).close()
            raise

    def _session(self, key: tuple[Settings, int]) -> Session:
        if key not in self._sessions:
            if not self._room_for_two:
                self.close()
            self._sessions[key] = self._open(key[0])
        return self._sessions[key]


GAIN_MIN = 0.015
"""A gain smaller than this isn't worth a setting of its own."""
ROUNDS_MIN, ROUNDS_MAX = 2, 6
"""A candidate is better after this many rounds at the earliest, and the last round decides."""
NOISE_MIN = 0.004
"""The deviation of a round's gain is assumed to be at least this."""

# One-sided 95 % quantiles of Student's t by degrees of freedom; beyond, the normal distribution's.
_T95 = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81, 1.80, 1.78, 1.77, 1.76, 1.75)
_T95_INFINITE = 1.645


class Verdict(Enum):
    """The outcome of a comparison, so far."""

    BETTER = "better"
    NOT_BETTER = "not better"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Noise:
    """The standard deviation of one round's gain between equals, and its degrees of freedom."""

    deviation: float
    freedom: int


def noise_of(gains: Sequence[float]) -> Noise:
    """Return the noise from rounds of the same settings against themselves: their true gain is 0.

    It comes from the median, so that one round in which something else ran doesn't count: for a normal
    distribution the deviation is 1.48 times the median distance from its centre.
    """
    return Noise(max(NOISE_MIN, 1.48 * statistics.median(abs(gain) for gain in gains)), len(gains))


def mean(gains: Sequence[float]) -> float:
    """Return the mean gain."""
    return math.fsum(gains) / len(gains)


def margin(gains: Sequence[float], noise: Noise) -> float:
    """Return half the width of the mean gain's confidence interval, from `noise` pooled with theirs."""
    centre = mean(gains)
    freedom = noise.freedom + len(gains) - 1
    squares = noise.freedom * noise.deviation**2 + math.fsum((gain - centre) ** 2 for gain in gains)
    deviation = max(NOISE_MIN, math.sqrt(squares / freedom))
    quantile = _T95[freedom - 1] if freedom <= len(_T95) else _T95_INFINITE
    return quantile * deviation / math.sqrt(len(gains))


def judge(gains: Sequence[float], noise: Noise) -> Verdict:
    """Return the verdict after these rounds; it is never undecided after `ROUNDS_MAX`."""
    centre, half = mean(gains), margin(gains, noise)
    if centre + half < GAIN_MIN:
        return Verdict.NOT_BETTER
    if len(gains) >= ROUNDS_MIN and centre - half > 0 and centre >= GAIN_MIN:
        return Verdict.BETTER
    return Verdict.UNDECIDED if len(gains) < ROUNDS_MAX else Verdict.NOT_BETTER
