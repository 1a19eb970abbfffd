"""The zeros of GPTQ: how the packed words of a checkpoint become what is subtracted from the numbers.

gptq_v2    the words hold the zeros
gptq       the words hold the zeros less one: a one for each number was subtracted from whole words, so it is
           added to whole words again, with carry, modulo the word. A zero of 0 borrowed from its neighbour,
           and gives back.

In 3 bits, 32 numbers lie in three words, and there are two exceptions by writer, both GPTQModel's: until 6.0
it had the ones of the three words in the opposite order, and since then it counts number by number, modulo 8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from quantize.checkpoint.quantized.bit_packing import unpack_dense

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


def stored_zeros(bits: int, word_bits: int, is_v2: bool, settings: Mapping[str, Any]) -> StoredZeros:
    """Return how the zeros of a checkpoint are stored, by its format and, in 3 bits, its writer."""
    if is_v2:
        return StoredZeros(bits)
    if bits != 3:
        return StoredZeros(bits, (sum(1 << at for at in range(0, word_bits, bits)),))
    version = _gptqmodel_version(settings)
    if version is not None and version >= _COUNTS_BY_NUMBER:
        return StoredZeros(bits, offset=1)
    whole = sum(1 << at for at in range(0, 3 * word_bits, bits))
    ones = tuple((whole >> (word_bits * i)) & ((1 << word_bits) - 1) for i in range(3))
    return StoredZeros(bits, ones if version is None else ones[::-1])


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
