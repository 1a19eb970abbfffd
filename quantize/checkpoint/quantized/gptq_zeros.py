"""The zeros of GPTQ: how the packed words of a checkpoint become what is subtracted from the numbers.

gptq_v2    the words hold the zeros
gptq       the words hold the zeros less one: a one for each number was subtracted from whole words, so it is
           added to whole words again, with carry, modulo the word. A zero of 0 borrowed from its neighbour,
           and gives back.

In 3 bits, 32 numbers lie in three words, and a one that is carried out of a word is lost for the number
that lies in two. So there writers differ: most count number by number, modulo 8; GPTQModel until 6.0 has the
ones of the three words in the opposite order. `three_bit_zeros` finds which way it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from quantize.checkpoint.quantized.bit_packing import unpack_dense

_MIDDLE: Final = 4
"""The zero of symmetric numbers of 3 bits."""

_LARGEST: Final = 7
"""The largest number of 3 bits."""

_COUNTS_BY_NUMBER: Final = (6, 1)
"""The first version of GPTQModel that converts zeros of 3 bits number by number."""


@dataclass(frozen=True)
class StoredZeros:
    """Zeros of `bits` bits as a file holds them. `ones` is added to the words, in turn.

    `offset` is added to each number, modulo 2^bits.
    """

    bits: int
    ones: tuple[int, ...] = (0,)
    offset: int = 0

    @property
    def unit_words(self) -> int:
        """The number of words that hold whole numbers together, and the whole of `ones`."""
        return 3 if self.bits == 3 else 1

    def unpack(self, words: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
        """Return the zeros: `[…, n_words]` → `[…, n_numbers]`; the first word begins a unit."""
        unsigned = np.ascontiguousarray(words).view(f"u{words.dtype.itemsize}")
        n_words = unsigned.shape[-1]
        ones = np.array([self.ones[i % len(self.ones)] for i in range(n_words)], unsigned.dtype)
        numbers = unpack_dense(unsigned + ones, self.bits).astype(np.int16)
        return (numbers + np.int16(self.offset)) & np.int16((1 << self.bits) - 1)


def stored_zeros(bits: int, word_bits: int, *, is_v2: bool) -> StoredZeros:
    """Return how a checkpoint's zeros are stored, by its format. Before v2, 3 bits need `three_bit_zeros`."""
    if is_v2:
        return StoredZeros(bits)
    return StoredZeros(bits, (sum(1 << at for at in range(0, word_bits, bits)),))


def three_bit_zeros(words: Sequence[npt.NDArray[Any]], settings: Mapping[str, Any]) -> StoredZeros:
    """Return how zeros of 3 bits are stored before v2, by every layer's: `[n_groups, n_words]` of 32 bits.

    Symmetric ones are right when all are 4. GPTQModel says that it was the writer. Others were counted by
    number unless a 7 is stored, which only a zero of 0 or a lost carry gives.
    """
    by_number, in_words, reversed_words = _three_bit_ways()
    if settings.get("sym"):
        for way in (by_number, in_words, reversed_words):
            if all((way.unpack(one) == _MIDDLE).all() for one in words):
                return way
    version = _gptqmodel_version(settings)
    if version is not None:
        return by_number if version >= _COUNTS_BY_NUMBER else reversed_words
    has_largest = any((StoredZeros(3).unpack(one) == _LARGEST).any() for one in words)
    return in_words if has_largest else by_number


def _three_bit_ways() -> tuple[StoredZeros, StoredZeros, StoredZeros]:
    whole = sum(1 << at for at in range(0, 96, 3))
    ones = tuple((whole >> (32 * i)) % 2**32 for i in range(3))
    return StoredZeros(3, offset=1), StoredZeros(3, ones), StoredZeros(3, ones[::-1])


def _gptqmodel_version(settings: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the version of the GPTQModel that wrote the checkpoint; None for another writer."""
    meta = settings.get("meta")
    quantizer = meta.get("quantizer") if isinstance(meta, dict) else None
    names = quantizer if isinstance(quantizer, list) else [quantizer]
    for name in names:
        match = re.match(r"gptqmodel:(\d{1,4})\.(\d{1,4})", str(name).lower())
        if match:
            return int(match[1]), int(match[2])
    return None
