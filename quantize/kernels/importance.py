"""Kernels for importance matrices: weights of errors, and a search for blocks' own scales. Compiled.

They follow quantize_row_q4_K_impl, q5_K_impl and make_qp_quants in ggml-quants.c.
"""

# Written out in one function each, as in `search`.
# ruff: noqa: C901, PLR0912, FURB136

from __future__ import annotations

from typing import Any

import numpy as np

from quantize.kernels.search import F32, ONE, ROUNDS, TENTH, TINY, ZERO


def weigh(x: Any, columns: Any, weights: Any, sums: Any) -> None:
    """Write `weights` [n, 256] of the errors of x [n, 256], and their `sums` [8 n] of 32 each.

    `columns` [n_per_row]: the importance of each column.
    """
    per_row = len(columns) // 256
    for block in range(x.shape[0]):
        first = 256 * (block % per_row)
        total = ZERO
        for i in range(256):
            total += x[block, i] * x[block, i]
        spread = F32(2) * total / F32(256)
        for i in range(256):
            value = x[block, i]
            weights[block, i] = columns[first + i] * np.sqrt(spread + value * value)
        for j in range(8):
            total = ZERO
            for i in range(32):
                total += weights[block, 32 * j + i]
            sums[8 * block + j] = total


def search_parts(values: Any, weights: Any, found: Any, parts: Any) -> None:
    """Search, for each row of `values` [n, 8] (scales or minima), values ≈ found · parts; write both.

    `parts` [n, 8] u8 are at most 63; `weights` [n, 8] are those of the squared errors.
    """
    n_max = F32(63)
    sum_ = np.empty(1, F32)
    bits = sum_.view(np.int32)
    levels = np.empty(8, np.int64)
    for row in range(values.shape[0]):
        largest = ZERO
        for i in range(8):
            largest = values[row, i] if values[row, i] > largest else largest
        if largest < TINY:
            found[row] = ZERO
            for i in range(8):
                parts[row, i] = 0
            continue
        best_inverse, best = ZERO, ZERO
        for attempt in range(9):
            # ggml begins with the plain scale, and then tries four steps below it and four above.
            step = attempt - 5 if attempt <= 4 else attempt - 4
            inverse = n_max / largest if attempt == 0 else (TENTH * F32(step) + n_max) / largest
            scale = ONE / inverse
            error = ZERO
            for i in range(8):
                sum_[0] = inverse * values[row, i] + ROUNDS
                level = (bits[0] & 0x7FFFFF) - 0x400000
                level = level & 255 if attempt == 0 else min(63, level)
                off = values[row, i] - scale * F32(level)
                error += weights[row, i] * off * off
            if attempt == 0 or error < best:
                best, best_inverse = error, inverse
        sum_xl, sum_l2 = ZERO, ZERO
        for i in range(8):
            sum_[0] = best_inverse * values[row, i] + ROUNDS
            level = min(63, (bits[0] & 0x7FFFFF) - 0x400000)
            levels[i] = level & 255
            sum_xl += weights[row, i] * values[row, i] * F32(level)
            sum_l2 += weights[row, i] * F32(level) * F32(level)
        for _ in range(5):
            changed = False
            for i in range(8):
                weight, value, level = weights[row, i], values[row, i], F32(levels[i])
                other_xl = sum_xl - weight * value * level
                other_l2 = sum_l2 - weight * level * level
                if other_xl > ZERO and other_l2 > ZERO:
                    sum_[0] = value * other_l2 / other_xl + ROUNDS
                    fresh = min(63, (bits[0] & 0x7FFFFF) - 0x400000)
                    if fresh != levels[i]:
                        other_xl += weight * value * F32(fresh)
                        other_l2 += weight * F32(fresh) * F32(fresh)
                        if other_xl * other_xl * sum_l2 > sum_xl * sum_xl * other_l2:
                            levels[i] = fresh & 255
                            sum_xl, sum_l2 = other_xl, other_l2
                            changed = True
            if not changed:
                break
        found[row] = sum_xl / sum_l2 if sum_l2 > ZERO else ZERO
        for i in range(8):
            parts[row, i] = levels[i]
