"""Unpacking of small integers from the 32-bit words in which quantized checkpoints hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[Any]
"""An array of int32 or uint32."""


def unpack_dense(words: Words, bits: int) -> npt.NDArray[np.uint8]:
    """Unpack words as one stream of `bits`-bit numbers, lowest bits first.

    Numbers of 3 bits may lie across two words. `[…, n_words]` → `[…, n_words · 32 // bits]`; bits 1 to 8.
    """
    if 8 % bits == 0:
        return _unpack_bytes(words, bits)
    *outer, n_words = words.shape
    n_units = -(-n_words // bits)  # `bits` words are 32 numbers
    units = np.zeros((*outer, n_units * bits), np.uint32)
    units[..., :n_words] = words.view(np.uint32)
    units = units.reshape(*outer, n_units, bits)
    numbers = np.empty((*outer, n_units, 32), np.uint8)
    mask = np.uint32((1 << bits) - 1)
    for i in range(32):
        word, shift = divmod(i * bits, 32)
        value = units[..., word] >> np.uint32(shift)
        if shift + bits > 32:
            value |= units[..., word + 1] << np.uint32(32 - shift)
        numbers[..., i] = value & mask
    return numbers.reshape(*outer, n_units * 32)[..., : n_words * 32 // bits]


def unpack_words(words: Words, bits: int) -> npt.NDArray[np.uint8]:
    """Unpack words of 32 // bits numbers each, lowest bits first, the rest unused.

    `[…, n_words]` → `[…, n_words · (32 // bits)]`; bits 1 to 8.
    """
    if 8 % bits == 0:
        return _unpack_bytes(words, bits)
    shifts = np.arange(0, 32 - bits + 1, bits, dtype=np.uint32)
    numbers = (words.view(np.uint32)[..., None] >> shifts) & np.uint32((1 << bits) - 1)
    return numbers.astype(np.uint8).reshape(*words.shape[:-1], -1)


def _unpack_bytes(words: Words, bits: int) -> npt.NDArray[np.uint8]:
    raw = np.ascontiguousarray(words).view(np.uint8)
    if bits == 8:
        return raw
    numbers = np.empty((*raw.shape, 8 // bits), np.uint8)
    for i in range(8 // bits):
        numbers[..., i] = (raw >> np.uint8(i * bits)) & np.uint8((1 << bits) - 1)
    return numbers.reshape(*raw.shape[:-1], -1)
