"""Whether one candidate is faster than another, from gains measured side by side. Pure.

Each round measures both within a few seconds, so that what slows the machine slows both; a round gives one
gain. The spread between rounds is the noise: first measured with the defaults against themselves, in two
processes, then also in each comparison. A candidate is better when the lower end of its mean gain's
confidence interval (one-sided, 95 %) is above 0 and the mean at least `GAIN_MIN`; it is given up as soon as
the upper end is below `GAIN_MIN`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

GAIN_MIN = 0.015
"""A smaller gain isn't worth a setting of its own."""
ROUNDS_MIN, ROUNDS_MAX = 2, 6
NOISE_MIN = 0.004
"""Nothing is taken to be measured more exactly than this."""

# One-sided 95 % quantiles of Student's t by degrees of freedom; beyond, the normal distribution's.
_T95 = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81, 1.80, 1.78, 1.77, 1.76, 1.75)
_T95_INFINITE = 1.645


class Verdict(Enum):
    BETTER = "better"
    NOT_BETTER = "not better"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard deviation of one round's gain between equals, and how many degrees of freedom it rests on."""

    deviation: float
    freedom: int


def noise_of(gains: Sequence[float]) -> Noise:
    """From rounds of the same settings against themselves: their true gain is 0.

    Through the median, so that one round in which something else ran doesn't count: for a normal
    distribution the deviation is 1.48 times the median distance from its centre.
    """
    return Noise(max(NOISE_MIN, 1.48 * statistics.median(abs(gain) for gain in gains)), len(gains))


def mean(gains: Sequence[float]) -> float:
    return math.fsum(gains) / len(gains)


def margin(gains: Sequence[float], noise: Noise) -> float:
    """Half the width of the mean gain's confidence interval: the noise known before, pooled with theirs."""
    centre = mean(gains)
    freedom = noise.freedom + len(gains) - 1
    squares = noise.freedom * noise.deviation**2 + math.fsum((gain - centre) ** 2 for gain in gains)
    deviation = max(NOISE_MIN, math.sqrt(squares / freedom))
    quantile = _T95[freedom - 1] if freedom <= len(_T95) else _T95_INFINITE
    return quantile * deviation / math.sqrt(len(gains))


def judge(gains: Sequence[float], noise: Noise) -> Verdict:
    """The verdict after these rounds; never undecided after `ROUNDS_MAX`."""
    centre, half = mean(gains), margin(gains, noise)
    if centre + half < GAIN_MIN:
        return Verdict.NOT_BETTER
    if len(gains) >= ROUNDS_MIN and centre - half > 0 and centre >= GAIN_MIN:
        return Verdict.BETTER
    return Verdict.UNDECIDED if len(gains) < ROUNDS_MAX else Verdict.NOT_BETTER
