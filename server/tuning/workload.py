"""The workload that tuning makes fast, and one number for how fast it goes. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Load:
    """`streams` requests that start together, on a quiet machine or, if `busy`, one with a busy process."""

    streams: int
    busy: bool
    weight: float


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of `prompt_tokens` in and `output_tokens` out, as many at once as each of `streams` says.

    They run on a quiet machine and on one with a busy process; `contention` (0 to 1) is the latter's weight.
    """

    prompt_tokens: int = 64
    output_tokens: int = 96
    streams: tuple[int, ...] = (1, 8)
    contention: float = 0.25

    @property
    def loads(self) -> tuple[Load, ...]:
        """The loads to measure; their weights add up to 1, and loads without weight are left out."""
        parts = {False: 1.0 - self.contention, True: self.contention}
        return tuple(
            Load(streams, busy, part / len(self.streams))
            for busy, part in parts.items()
            if part > 0
            for streams in self.streams
        )

    def tokens_per_second(self, load: Load, seconds: float) -> float:
        """Return the generated tokens per second when all of `load`, prompts included, takes `seconds`."""
        return load.streams * self.output_tokens / seconds


GAIN_MAX = 1.0
"""The gain of one load counts at most as this."""

Times = Mapping[Load, float]
"""The seconds of each load, from the first prompt token to the last generated one."""


def gain(reference: Times, candidate: Times) -> float:
    """Return how much faster `candidate` is: the weighted mean of ln(reference ÷ candidate) over the loads.

    0.1 is about 10 % faster in tokens per second, -0.1 as much slower; gains add up. One load counts at most
    as `GAIN_MAX`: with a busy process it is now and then luck, a matter of the core that it sits on.
    """
    return sum(
        load.weight * max(-GAIN_MAX, min(GAIN_MAX, math.log(reference[load] / candidate[load])))
        for load in reference
    )


def percent(value: float) -> float:
    """Return a gain as the change of tokens per second in percent."""
    return 100.0 * math.expm1(value)
