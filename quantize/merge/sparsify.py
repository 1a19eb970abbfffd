"""The thinning out of a delta: its largest numbers stay (TIES), or a random part (DARE).

Which ones stay is a property of the whole tensor and of each number's place in it, so that any block of rows
can be thinned out alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from quantize.merge.chunks import Floats

Chunks = Callable[[], Iterable[Floats]]

HELD_ELEMENTS: Final = 2**24
"""The deltas of tensors with at most this many elements (64 MiB) are held while their threshold is found."""

_NO_NORM: Final = 1e-7
_SIGN: Final = np.uint32(0x7FFFFFFF)


class Sparse(Protocol):
    """A choice of the numbers of a delta that stay, and of the factor by which they grow."""

    def apply(self, delta: Floats, first: int) -> None:
        """Thin out `delta` in place; `first` is the place of its first number in the tensor."""


@dataclass(frozen=True)
class Everything:
    """All numbers stay."""

    def apply(self, delta: Floats, first: int) -> None:
        del delta, first


@dataclass(frozen=True)
class Nothing:
    """No number stays."""

    def apply(self, delta: Floats, first: int) -> None:
        del first
        delta[...] = 0


@dataclass(frozen=True)
class Largest:
    """Magnitudes above `bits` stay (an f32's, without its sign), and equal ones at places up to `last`."""

    bits: int
    last: int
    factor: float = 1.0

    def apply(self, delta: Floats, first: int) -> None:
        magnitudes = _magnitudes(delta)
        flat = delta.reshape(-1)
        drop = magnitudes < np.uint32(self.bits)
        if first + len(flat) > self.last + 1:
            equal = magnitudes == np.uint32(self.bits)
            equal[: max(0, self.last + 1 - first)] = False
            drop |= equal
        flat[drop] = 0
        if self.factor != 1.0:
            flat *= np.float32(self.factor)


@dataclass(frozen=True)
class Random:
    """Each number stays with the probability `density`, decided by `seed` and the number's place."""

    seed: int
    density: float
    factor: float = 1.0

    def apply(self, delta: Floats, first: int) -> None:
        flat = delta.reshape(-1)
        numbers = _random_numbers(self.seed, first, len(flat))
        flat[numbers >= np.uint32(min(self.density * 2.0**32, 2.0**32 - 1))] = 0
        if self.factor != 1.0:
            flat *= np.float32(self.factor)


def largest(chunks: Chunks, n: int, density: float, rescale: bool) -> Sparse:
    """Choose the `density·n` largest magnitudes, at least one; of equals those that come first.

    The choice is exact in bounded memory: two counts over all numbers (the upper, then the lower half of the
    bits), a third pass only where equals must be told apart. With `rescale` the sum of magnitudes stays.
    """
    if density >= 1:
        return Everything()
    if density <= 0 or n == 0:
        return Nothing()
    if n <= HELD_ELEMENTS:
        held = list(chunks())
        chunks = lambda: held  # noqa: E731 - in the argument's place
    k = max(1, int(density * n))
    upper, above = _crossing(_counts(chunks, lambda bits: bits >> np.uint32(16)), k)

    def lower_of(bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        inside: npt.NDArray[np.uint32] = bits[bits >> np.uint32(16) == upper] & np.uint32(0xFFFF)
        return inside

    counts = _counts(chunks, lower_of)
    lower, above_too = _crossing(counts, k - above)
    bits, needed = upper << 16 | lower, k - above - above_too
    last = n - 1 if counts[lower] == needed else _place_of(chunks, bits, needed)
    cut = Largest(bits, last)
    return Largest(bits, last, _regrowth(chunks, cut)) if rescale else cut


def random(tensor: str, number: int, density: float, rescale: bool) -> Sparse:
    """Choose a part of about `density`, the same in every run.

    It is seeded by the tensor's name and the model's place among those that aren't the base. With `rescale`
    the numbers that stay are divided by `density`.
    """
    if density >= 1:
        return Everything()
    if density <= 0:
        return Nothing()
    digest = hashlib.sha256(f"{tensor}\0{number}".encode()).digest()
    return Random(int.from_bytes(digest[:16], "little"), density, 1 / density if rescale else 1.0)


def _random_numbers(seed: int, first: int, n: int) -> npt.NDArray[np.uint32]:
    """Return 32 random bits for each place in [first, first + n): two to a number of PCG64's stream."""
    generator = np.random.PCG64(seed)
    generator.advance(first // 2)
    raw = np.asarray(generator.random_raw((n + first % 2 + 1) // 2)).astype("<u8", copy=False)
    numbers: npt.NDArray[np.uint32] = raw.view("<u4")[first % 2 : first % 2 + n]
    return numbers


def _magnitudes(values: Floats) -> npt.NDArray[np.uint32]:
    """Return bits that order as the magnitudes do; NaN is above all, and so stays to be reported later."""
    return values.reshape(-1).view(np.uint32) & _SIGN


def _counts(
    chunks: Chunks, part: Callable[[npt.NDArray[np.uint32]], npt.NDArray[np.uint32]]
) -> npt.NDArray[np.int64]:
    counts = np.zeros(2**16, np.int64)
    for chunk in chunks():
        counts += np.bincount(part(_magnitudes(chunk)).astype(np.int64), minlength=2**16)
    return counts


def _crossing(counts: npt.NDArray[np.int64], k: int) -> tuple[int, int]:
    """Return the bin with the k-th largest, and the count above it."""
    from_above = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_above, k))
    bin_ = len(counts) - 1 - place
    return bin_, int(from_above[place] - counts[bin_])


def _place_of(chunks: Chunks, bits: int, needed: int) -> int:
    """Return the place of the `needed`-th number of this magnitude."""
    first = 0
    for chunk in chunks():
        places = np.flatnonzero(_magnitudes(chunk) == np.uint32(bits))
        if len(places) >= needed:
            return first + int(places[needed - 1])
        needed -= len(places)
        first += chunk.size
    raise AssertionError("counted another number of them before")


def _regrowth(chunks: Chunks, cut: Largest) -> float:
    """Return Σ|δ| before the cut over Σ|δ| after it."""
    before = after = 0.0
    first = 0
    for chunk in chunks():
        delta = chunk.reshape(-1).copy()
        before += float(np.sum(np.abs(delta), dtype=np.float64))
        cut.apply(delta, first)
        after += float(np.sum(np.abs(delta), dtype=np.float64))
        first += delta.size
    return 1.0 if min(before, after) < _NO_NORM else before / after
