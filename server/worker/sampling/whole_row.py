"""WholeRow: draws from the softmax of whole rows, with llama.cpp's random numbers.

This is the NumPy form of top_p, min_p, temperature and distribution without a bound on the candidates
before them. They are done together, as they share one sorting and one sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from server.engine.sampling_params import SamplingParams
from server.worker.sampling.steps.step import Floats, Indices

_BLOCKS = 64
_FLOORS = (1e-3, 1e-5)
"""Fractions of the most likely token's probability above which top_p usually has its mass."""
_ENOUGH = 1.001
"""The mass to find, as a multiple of the mass that is needed: more than the sums' rounding."""
_NUMBERS = 256
"""Random numbers that are drawn at a time."""
_SEEDS = 0xFFFFFFFF
"""This seed tells llama.cpp to draw one; SamplerChain folds seeds into those below it, too."""
_BELOW_ONE = float(np.nextafter(1.0, 0.0))


class WholeRow:
    """The draws of one sequence.

    Sums are in the order and precision of llama.cpp, what top_p keeps is found from powers of e rounded as
    its own: in a flat distribution of many tokens the same number then falls on the same one. The powers that
    are summed for the draw are single ones, as llama.cpp's, and right to 3e-7.
    """

    __slots__ = ("_log_min_p", "_numbers", "_temperature", "_top_p")

    def __init__(self, params: SamplingParams, seed: int, generator: np.random.RandomState) -> None:
        """`generator` is borrowed, see `random_numbers`."""
        self._top_p = params.top_p
        self._log_min_p = math.log(params.min_p) if params.min_p > 0 else -math.inf
        self._temperature = params.temperature
        self._numbers = random_numbers(generator, seed)

    def skip(self) -> None:
        """Use up the random number of one token."""
        next(self._numbers)

    def draw(self, logits: Floats, best: float) -> int:
        """Return a token of one row of logits [V] whose maximum is `best`; takes one random number."""
        number = next(self._numbers)
        if self._top_p >= 1:  # nor is there a min_p, which alone would be a bound
            return _draw_of_all(logits, best, self._temperature, number)
        weights = _exp(logits - np.float32(best))
        total = np.add.accumulate(weights)[-1]
        if self._log_min_p > -math.inf:
            ids = (logits >= np.float32(best) + np.float32(self._log_min_p)).nonzero()[0]
        else:
            ids = _likely(weights, self._top_p * float(total))
        values = logits.take(ids)
        ordered = -values
        ordered.sort()
        kept = np.sort(weights.take(ids))[::-1]  # what e ** x of the ordered ones is, as it grows with x
        shares = np.add.accumulate(kept / total)
        ordered = ordered[: int(shares.searchsorted(np.float32(self._top_p))) + 1]
        floor = ordered[0] - np.float32(self._log_min_p)
        ordered = ordered[: int(ordered.searchsorted(floor, "right"))]
        scaled = ordered / np.float32(self._temperature)
        mass = np.add.accumulate(np.exp(scaled[0] - scaled), dtype=np.float64)
        place = int(mass.searchsorted(mass[-1] * number))
        equal = (values == -ordered[place]).nonzero()[0]
        return int(ids[equal[place - int(ordered.searchsorted(ordered[place]))]])


def random_numbers(generator: np.random.RandomState, seed: int) -> Iterator[float]:
    """Yield endless numbers in [0, 1): those that llama.cpp draws for `seed`.

    llama.cpp draws from std::mt19937 through std::uniform_real_distribution<double>, which joins two 32-bit
    numbers, the first one the lower, to a fraction of 2**64. NumPy's legacy seeding is that generator's
    seeding. `generator` is used at a refill only; all sequences of a thread may share one.
    """
    generator.seed(seed % _SEEDS)
    while True:
        pairs = np.frombuffer(generator.bytes(8 * _NUMBERS), "<u8")
        state = generator.get_state()
        yield from np.minimum(pairs / 2.0**64, _BELOW_ONE).tolist()
        generator.set_state(state)


def _exp(logits: Floats) -> Floats:
    return np.exp(logits, dtype=np.float64).astype(np.float32)


def _likely(weights: Floats, enough: float) -> Indices:
    """Return the ids, ascending, of the largest weights, `enough` in sum and more."""
    for floor in _FLOORS:
        ids: Indices = (weights >= floor).nonzero()[0]
        if len(ids) == len(weights):
            return ids
        if float(weights.take(ids).sum(dtype=np.float64)) >= enough * _ENOUGH:
            return ids
    return np.arange(len(weights))


def _draw_of_all(logits: Floats, best: float, temperature: float, number: float) -> int:
    """Return any token, in the order of their ids: finds the row's block first, then the place in it."""
    scaled = logits / np.float32(temperature)
    scaled -= np.float32(best) / np.float32(temperature)
    weights = np.exp(scaled, dtype=np.float64)
    width = -(-len(weights) // _BLOCKS)
    starts = np.arange(0, len(weights), width)
    mass = np.add.accumulate(np.add.reduceat(weights, starts))
    target = mass[-1] * number
    block = int(mass.searchsorted(target))
    start = block * width
    inner = np.add.accumulate(weights[start : start + width])
    if block:
        inner += mass[block - 1]
    return start + min(int(inner.searchsorted(target)), len(inner) - 1)
