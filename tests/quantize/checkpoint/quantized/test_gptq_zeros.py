"""Stored zeros by literal words: the carry, the width of words, and the writers of 3 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantize.checkpoint.quantized.gptq_zeros import stored_zeros, three_bit_zeros

# 32 zeros 0 1 2 … 7 0 1 2 … 7 … as one stream of 3 bits, and a one for each number, by hand.
THREE_BITS = [0x88FAC688, 0xC688FAC6, 0xFAC688FA]
ONES = [0x49249249, 0x92492492, 0x24924924]


def unpacked(
    words: list[int], bits: int, *, is_v2: bool = False, word_bits: int = 32, **settings: Any
) -> list[int]:
    array = np.array([words], f"u{word_bits // 8}").view(f"i{word_bits // 8}")
    look = bits == 3 and not is_v2
    way = three_bit_zeros([array], settings) if look else stored_zeros(bits, word_bits, is_v2=is_v2)
    zeros: list[int] = way.unpack(array)[0].tolist()
    return zeros


def less(words: list[int], ones: list[int]) -> list[int]:
    return [(word - one) % 2**32 for word, one in zip(words, ones, strict=True)]


def test_a_zero_of_0_borrows_and_gives_back() -> None:
    zeros = [0, 5, 1, 0, 0, 15, 8, 7]
    assert unpacked([0x78F00150], 4, is_v2=True) == zeros
    assert unpacked([0x78F00150 - 0x11111111], 4) == zeros
    assert 0x78F00150 - 0x11111111 == 0x67DEF03F  # by number: 16 4 1 16 15 14 8 7


def test_symmetric_zeros() -> None:
    assert unpacked([0x77777777], 4) == [8] * 8
    assert unpacked([0x7F7F7F7F], 8) == [128] * 4
    assert unpacked([0x55555555], 2) == [2] * 16
    threes = [0xDB6DB6DB, 0xB6DB6DB6, 0x6DB6DB6D]
    assert unpacked(threes, 3) == [4] * 32
    assert unpacked(threes, 3, sym=True) == [4] * 32
    assert unpacked(threes, 3, meta={"quantizer": ["gptqmodel:6.1.0"]}) == [4] * 32
    fours = [0x24924924, 0x49249249, 0x92492492]
    assert unpacked(fours, 3, is_v2=True) == [4] * 32
    for ones in (ONES, ONES[::-1]):
        assert unpacked(less(fours, ones), 3, sym=True) == [4] * 32


@pytest.mark.parametrize(
    ("bits", "word_bits", "word", "zeros"),
    [
        (2, 32, 0x00000000 - 0x55555555 + 2**32, [0] * 16),
        (8, 32, 0xFF000001 - 0x01010101, [1, 0, 0, 255]),
        (4, 64, 2**64 - 0x1111111111111111, [0] * 16),
        (4, 16, 2**16 - 0x1111, [0] * 4),
        (2, 8, 0x100 - 0x55, [0] * 4),
        (8, 8, 0xFF, [0]),
    ],
)
def test_all_widths(bits: int, word_bits: int, word: int, zeros: list[int]) -> None:
    assert unpacked([word], bits, word_bits=word_bits) == zeros


def test_three_bits_by_their_writer() -> None:
    zeros = [*range(8)] * 4
    assert unpacked(THREE_BITS, 3, is_v2=True) == zeros
    for meta in (
        None,
        {},
        {"quantizer": None},
        {"quantizer": "auto_gptq:0.7"},
        {"quantizer": ["autoround:1.0"]},
    ):
        assert unpacked(less(THREE_BITS, ONES), 3, meta=meta) == zeros
    for version in ("0.9.0", "2.2.0", "5.8.0", "6.0.3"):
        reversed_ones = less(THREE_BITS, ONES[::-1])
        assert unpacked(reversed_ones, 3, meta={"quantizer": [f"gptqmodel:{version}"]}) == zeros
    by_number = [0x47D63447, 0x3447D634, 0xD63447D6]  # 7 0 1 … 6: each less one, modulo 8
    assert unpacked(by_number, 3, meta={"quantizer": "gptqmodel:6.1.0"}) == zeros
