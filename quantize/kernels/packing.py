"""Kernels that pack blocks of Q4_K, Q5_K and Q6_K: numbers become levels, and levels bits. Compiled.

They follow quantize_row_q4_K_ref, q5_K_ref and q6_K_ref in ggml-quants.c. A sub-block whose scale becomes
zero in its few bits keeps the levels that the search had.
"""

# Written out in one function each, as in `search`.
# ruff: noqa: C901, PLR0912, FURB136

from __future__ import annotations

from typing import Any

import numpy as np

from quantize.kernels.search import F32, ROUNDS, ZERO


def pack_scale_and_min(x: Any, n_max: Any, six_bits: Any, found: Any, half: Any, out: Any) -> None:
    """Pack x [n, 256] to `out` [n, 144 (Q4_K: n_max 15) or 176 (Q5_K: 31)] u8, from its fifth byte on.

    `six_bits` [2, 8 n] u8: the sub-blocks' scales and minima in parts of the block's. `found` [2, 8 n]: as
    the search has written it. `half` [2, n]: the block's scale and minimum as F16 has them.
    """
    levels = np.empty(32, F32)
    whole = np.empty(256, np.uint8)
    has_high = n_max > F32(15)
    first = 48 if has_high else 16
    for block in range(x.shape[0]):
        for i in range(4, 16):
            out[block, i] = 0
        for j in range(8):
            s, m = six_bits[0, 8 * block + j], six_bits[1, 8 * block + j]
            if j < 4:
                out[block, 4 + j] = s
                out[block, 8 + j] = m
            else:
                out[block, 8 + j] = (s & 15) | ((m & 15) << 4)
                out[block, j] |= (s >> 4) << 6
                out[block, 4 + j] |= (m >> 4) << 6
        for j in range(8):
            at = 8 * block + j
            if j < 4:
                s, m = out[block, 4 + j] & 63, out[block, 8 + j] & 63
            else:
                s = (out[block, 8 + j] & 15) | ((out[block, j] >> 6) << 4)
                m = (out[block, 8 + j] >> 4) | ((out[block, 4 + j] >> 6) << 4)
            scale, low = half[0, block] * F32(s), half[1, block] * F32(m)
            if scale != ZERO:
                for i in range(32):
                    levels[i] = ((x[block, 32 * j + i] + low) / scale + ROUNDS) - ROUNDS
            elif np.isfinite(found[0, at]):
                for i in range(32):
                    levels[i] = (found[0, at] * (x[block, 32 * j + i] - found[1, at]) + ROUNDS) - ROUNDS
            else:
                for i in range(32):
                    levels[i] = ZERO
            for i in range(32):
                level = ZERO if levels[i] < ZERO else levels[i]
                whole[32 * j + i] = np.uint8(n_max if level > n_max else level)
        for j in range(4):
            for i in range(32):
                low_4, high_4 = whole[64 * j + i] & 15, whole[64 * j + 32 + i] & 15
                out[block, first + 32 * j + i] = low_4 | (high_4 << 4)
        if has_high:
            for i in range(32):
                bits = 0
                for j in range(8):
                    bits |= (whole[32 * j + i] >> 4) << j
                out[block, 16 + i] = bits


def pack_scale(x: Any, scales: Any, found: Any, half: Any, inverse: Any, out: Any) -> None:
    """Pack x [n, 256] to `out` [n, 210] u8 (Q6_K), up to its last two bytes.

    `scales`, `found` [16 n]: as the search has written them. `half` [n]: the block's scale as F16 has it;
    `inverse` [n]: the inverse of the eight-bit parts' scale, 0 for a block of zeros.
    """
    least, most, middle = F32(-32), F32(31), F32(32)
    levels = np.empty(16, F32)
    whole = np.empty(256, np.uint8)
    for block in range(x.shape[0]):
        if inverse[block] == ZERO:
            for i in range(210):
                out[block, i] = 0
            continue
        for j in range(16):
            at = 16 * block + j
            s = min(127, int((inverse[block] * scales[at] + ROUNDS) - ROUNDS))
            out[block, 192 + j] = s & 255
            scale = half[block] * F32(s)
            if scale != ZERO:
                for i in range(16):
                    level = (x[block, 16 * j + i] / scale + ROUNDS) - ROUNDS
                    level = least if level < least else level
                    levels[i] = (most if level > most else level) + middle
            elif found[at] != ZERO:
                for i in range(16):
                    level = (found[at] * x[block, 16 * j + i] + ROUNDS) - ROUNDS
                    level = least if level < least else level
                    levels[i] = (most if level > most else level) + middle
            else:
                for i in range(16):
                    levels[i] = ZERO
            for i in range(16):
                whole[16 * j + i] = np.uint8(levels[i])
        for half_block in range(2):
            at, to = 128 * half_block, 64 * half_block
            for i in range(32):
                a, b = whole[at + i], whole[at + 32 + i]
                c, d = whole[at + 64 + i], whole[at + 96 + i]
                out[block, to + i] = (a & 15) | ((c & 15) << 4)
                out[block, to + 32 + i] = (b & 15) | ((d & 15) << 4)
                high = (a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((d >> 4) << 6)
                out[block, 128 + to // 2 + i] = high
