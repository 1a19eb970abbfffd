"""Sampling with no limit on the number of candidates: the softmax is over the whole row."""

from __future__ import annotations

import numpy as np

from server.worker.sampling.candidates import Floats, Indices
from server.worker.sampling.truncation import Truncation

_BLOCKS = 64
_FLOORS = (1e-3, 1e-5)  # of the most likely token's probability: where top_p usually has its mass
_ENOUGH = 1.001  # more than the sums' rounding


def draw_of_row(logits: Floats, best: float, limits: Truncation, number: float) -> int:
    """A token of one row of logits [V] whose maximum is `best`; `limits` are without top_k.

    `number` in [0, 1) is the random number to use. Sums are in the order and precision of llama.cpp: in a
    flat distribution of many tokens the same number then falls on the same one.
    """
    if limits.top_p >= 1:
        return _draw_of_all(logits, best, limits.temperature, number)
    weights = _exp(logits - np.float32(best))
    total = np.add.accumulate(weights)[-1]
    if limits.floor > -np.inf:
        ids = (logits >= np.float32(best) + np.float32(limits.log_min_p)).nonzero()[0]
    else:
        ids = _likely(weights, limits.top_p * float(total))
    values = logits.take(ids)
    ordered = -values
    ordered.sort()
    shares = np.add.accumulate(_exp(ordered[0] - ordered) / total)
    ordered = ordered[: int(shares.searchsorted(np.float32(limits.top_p))) + 1]
    floor = ordered[0] - np.float32(limits.log_min_p)
    ordered = ordered[: int(ordered.searchsorted(floor, "right"))]
    scaled = ordered / np.float32(limits.temperature)
    mass = np.add.accumulate(np.exp(scaled[0] - scaled, dtype=np.float64))
    place = int(mass.searchsorted(mass[-1] * number))
    equal = (values == -ordered[place]).nonzero()[0]
    return int(ids[equal[place - int(ordered.searchsorted(ordered[place]))]])


def _exp(logits: Floats) -> Floats:
    return np.exp(logits, dtype=np.float64).astype(np.float32)


def _likely(weights: Floats, enough: float) -> Indices:
    """Ids, ascending, of the largest weights, `enough` in sum and more."""
    for floor in _FLOORS:
        ids: Indices = (weights >= floor).nonzero()[0]
        if float(weights.take(ids).sum(dtype=np.float64)) >= enough * _ENOUGH:
            return ids
    return np.arange(len(weights))


def _draw_of_all(logits: Floats, best: float, temperature: float, number: float) -> int:
    """Any token, in the order of their ids: finds the block of the row first, then the place in it."""
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
