"""FastPath: the quickest way to sample a request with the tokens that llama.cpp's chain would give.

It is recognised from the request's list of steps, by what each step says of itself:

    [adjusters …] | greedy                      argmax: NumPy takes the maximum
    [adjusters …] | bounds … steps …            candidates: NumPy finds what bounds leave, the chain goes on
    [adjusters …] | top_p min_p temperature …   whole_row: NumPy does it all
    anything else                               chain: llama.cpp over the whole row
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from server.worker.sampling.candidates import Limits
from server.worker.sampling.steps.step import Bound, Fast, Step

Way = Fast | Literal["chain"]


@dataclass(frozen=True, slots=True)
class FastPath:
    """One way of sampling a request, and which of its steps are done where."""

    way: Way
    adjusting: Sequence[Step]
    """The steps that NumPy does before the others."""
    chained: Sequence[Step]
    """The steps that llama.cpp's chain does; none for the ways without a chain."""
    limits: Limits
    """The limits of the candidates; without meaning for the other ways."""


def recognize(steps: Sequence[Step], n_vocab: int) -> FastPath:
    """Return the quickest way for the active `steps` of a request, the last of which picks the token."""
    adjusting = list(takewhile(lambda step: step.adjuster is not None, steps))
    rest = steps[len(adjusting) :]
    bounds = _leading_bounds(rest)
    limits = Limits.of(bounds, n_vocab)
    common = frozenset.intersection(*(step.fast for step in rest))
    if "argmax" in common:
        return FastPath("argmax", adjusting, (), limits)
    if "candidates" in common and bounds:
        return FastPath("candidates", adjusting, rest, limits)
    if "whole_row" in common:
        return FastPath("whole_row", adjusting, (), limits)
    return FastPath("chain", (), steps, limits)


def _leading_bounds(steps: Sequence[Step]) -> list[Bound]:
    """Return the bounds before the first step without one, which depends on the entries they leave."""
    bounds: list[Bound] = []
    for step in steps:
        bound = step.bound
        if bound is None:
            break
        bounds.append(bound)
    return bounds
