"""One row's token from its candidates: top_k, top_p, min_p, temperature and the draw, in llama.cpp's order.

llama.cpp adds probabilities up in 32 bits; here they have 64, so that a random number within about 1e-7 of
the limit between two tokens may give the other one. Of equal logits the lower id counts as the likelier
(llama.cpp leaves them in the order of a heap).
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import exp

from server.worker.sampling.truncation import Truncation


def draw(values: list[float], best: float, limits: Truncation, number: float) -> int:
    """A place in `values`: logits ascending by id, with `best`, their maximum, and all that may be drawn.

    With a top_k they hold at least the top_k largest of the row, unless those can't matter: without top_p
    only what min_p leaves. `number` in [0, 1) is the random number to use.
    """
    if limits.top_k <= 0:
        return _draw(values, best, limits.temperature, number)
    floor = best + limits.log_min_p
    likely = [value for value in values if value >= floor]
    likely.sort(reverse=True)
    del likely[limits.top_k :]
    if limits.top_p < 1 and len(likely) > 1:
        del likely[_n_for_top_p(likely, values, best, limits) :]
    if len(likely) == 1:
        return values.index(best)
    drawn = _draw(likely, best, limits.temperature, number)
    value = likely[drawn]
    place = values.index(value)
    for _ in range(drawn - likely.index(value)):
        place = values.index(value, place + 1)
    return place


def _n_for_top_p(likely: list[float], values: list[float], best: float, limits: Truncation) -> int:
    """How many of `likely`, at least one, make up top_p of the mass of the top_k largest of `values`."""
    weights = [exp(value - best) for value in likely]
    mass = sum(weights)
    if len(likely) < min(len(values), limits.top_k):
        rest = sorted(values, reverse=True)[len(likely) : limits.top_k]
        mass += sum([exp(value - best) for value in rest])
    enough = mass * limits.top_p
    reached = 0.0
    for count, weight in enumerate(weights, 1):
        reached += weight
        if reached >= enough:
            return count
    return len(likely)


def _draw(values: list[float], best: float, temperature: float, number: float) -> int:
    mass = list(accumulate([exp((value - best) / temperature) for value in values]))
    return bisect_left(mass, mass[-1] * number)
