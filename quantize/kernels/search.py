"""The search for a sub-block's scale (and minimum), many sub-blocks side by side. Compiled.

ggml's k-quants try some twenty scales per sub-block of 32 or 16 numbers and keep the one with the least
weighted error, adding up each sum in one fixed order. Vector instructions can't shorten one such sum without
changing its last bit; so here one step does the same for LANES sub-blocks, each in its own lane and in ggml's
own order (make_qkx2_quants, make_qkx3_quants and make_qx_quants in ggml-quants.c). F32 throughout.
"""

# Loops over lanes are written out, and constants are F32: this is compiled, and numpy's promotion isn't C's.
# The functions are long because each is compiled as a whole, by a compiler that is passed in: a part of its
# own would have to be compiled before it.
# ruff: noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917, FURB136

from __future__ import annotations

from typing import Any, Final

import numpy as np

F32: Final = np.float32
LANES: Final = 64
"""This many sub-blocks are searched side by side: their numbers and sums fit in the first-level cache."""

ZERO: Final = F32(0)
ONE: Final = F32(1)
TENTH: Final = F32(0.1)
INFINITY: Final = F32(np.inf)
ROUNDS: Final = F32(12582912.0)
"""The constant 1.5 · 2^23, added and subtracted, rounds to the nearest integer, halves to even."""

TINY: Final = F32(1e-15)
"""A sub-block that has nothing larger is all zero: ggml's GROUP_MAX_EPS."""


def search_scale_and_min(
    x: Any,
    weights: Any,
    n_max: Any,
    r_min: Any,
    r_delta: Any,
    n_steps: Any,
    scales: Any,
    mins: Any,
    found: Any,
) -> bool:
    """Search, for each row of x [n, 32], x ≈ scale · l - min with l from 0 to n_max; write `scales` and
    `mins`.

    `weights` [n, 32] are those of the squared errors; [0, 32] for ggml's own, root mean square plus
    magnitude. `found` [2, n] gets the inverse scale and the minimum that gave the l of the best try. Returns
    False if a row has numbers so close that an inverse scale overflows, for which ggml's own result is
    another.
    """
    n = x.shape[0]
    xt, wt = np.empty((32, LANES), F32), np.empty((32, LANES), F32)
    low, high, best = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
    sum_w, sum_x, inverse = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
    sum_l, sum_l2, sum_xl = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
    try_scale, try_min, error = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
    scale, best_inverse, best_low = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
    regular = True
    for start in range(0, n, LANES):
        n_lanes = min(LANES, n - start)
        for k in range(n_lanes):
            for i in range(32):
                xt[i, k] = x[start + k, i]
        for k in range(n_lanes, LANES):
            for i in range(32):
                xt[i, k] = ZERO
        if len(weights):
            for k in range(LANES):
                for i in range(32):
                    wt[i, k] = weights[start + k, i] if k < n_lanes else ONE
        else:
            for k in range(LANES):
                sum_x[k] = ZERO
            for i in range(32):
                for k in range(LANES):
                    sum_x[k] += xt[i, k] * xt[i, k]
            for k in range(LANES):
                best[k] = np.sqrt(sum_x[k] / F32(32))
            for i in range(32):
                for k in range(LANES):
                    wt[i, k] = best[k] + abs(xt[i, k])
        for k in range(LANES):
            low[k], high[k] = xt[0, k], xt[0, k]
            sum_w[k], sum_x[k] = wt[0, k], wt[0, k] * xt[0, k]
        for i in range(1, 32):
            for k in range(LANES):
                value, weight = xt[i, k], wt[i, k]
                low[k] = value if value < low[k] else low[k]
                high[k] = value if value > high[k] else high[k]
                sum_w[k] += weight
                sum_x[k] += weight * value
        for k in range(LANES):
            low[k] = ZERO if low[k] > ZERO else low[k]
            inverse[k] = n_max / (high[k] - low[k])
            scale[k] = ONE / inverse[k]
            best_inverse[k], best_low[k] = inverse[k], low[k]
            best[k] = ZERO
        for k in range(n_lanes):
            if high[k] != low[k] and not np.isfinite(inverse[k]):
                regular = False
        for i in range(32):
            for k in range(LANES):
                level = (inverse[k] * (xt[i, k] - low[k]) + ROUNDS) - ROUNDS
                level = ZERO if level < ZERO else level
                level = n_max if level > n_max else level
                off = scale[k] * level + low[k] - xt[i, k]
                best[k] += wt[i, k] * (off * off)
        for step in range(n_steps + 1):
            top = r_min + r_delta * F32(step) + n_max
            for k in range(LANES):
                inverse[k] = top / (high[k] - low[k])
                sum_l[k], sum_l2[k], sum_xl[k] = ZERO, ZERO, ZERO
            for i in range(32):
                for k in range(LANES):
                    value = xt[i, k]
                    level = (inverse[k] * (value - low[k]) + ROUNDS) - ROUNDS
                    level = ZERO if level < ZERO else level
                    level = n_max if level > n_max else level
                    weighted = wt[i, k] * level
                    sum_l[k] += weighted
                    sum_l2[k] += weighted * level
                    sum_xl[k] += weighted * value
            for k in range(LANES):
                determinant = sum_w[k] * sum_l2[k] - sum_l[k] * sum_l[k]
                s = (sum_w[k] * sum_xl[k] - sum_x[k] * sum_l[k]) / determinant
                m = (sum_l2[k] * sum_x[k] - sum_l[k] * sum_xl[k]) / determinant
                try_scale[k] = sum_xl[k] / sum_l2[k] if m > ZERO else s
                try_min[k] = ZERO if m > ZERO else m
                error[k] = ZERO if determinant > ZERO else INFINITY
            for i in range(32):
                for k in range(LANES):
                    value = xt[i, k]
                    level = (inverse[k] * (value - low[k]) + ROUNDS) - ROUNDS
                    level = ZERO if level < ZERO else level
                    level = n_max if level > n_max else level
                    off = try_scale[k] * level + try_min[k] - value
                    error[k] += wt[i, k] * (off * off)
            for k in range(LANES):
                better = error[k] < best[k]
                best_inverse[k] = inverse[k] if better else best_inverse[k]
                best_low[k] = low[k] if better else best_low[k]
                best[k] = error[k] if better else best[k]
                scale[k] = try_scale[k] if better else scale[k]
                low[k] = try_min[k] if better else low[k]
        for k in range(n_lanes):
            scales[start + k], mins[start + k] = scale[k], -low[k]
            found[0, start + k], found[1, start + k] = best_inverse[k], best_low[k]
    return regular


def search_scale(x: Any, weights: Any, scales: Any, found: Any) -> None:
    """Search, for each row of x [n, 16], x ≈ scale · l with l from -32 to 31; write `scales`.

    `weights` [n, 16] are those of the squared errors; [0, 16] for ggml's own, the squares. `found` [n] gets
    the inverse scale that gave the l of the best try, 0 for a row that is all but zero.
    """
    n = x.shape[0]
    n_max, least, most = F32(32), F32(-32), F32(31)
    xt, wt = np.empty((16, LANES), F32), np.empty((16, LANES), F32)
    largest, at_largest, inverse = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
    sum_xl, sum_l2 = np.empty(LANES, F32), np.empty(LANES, F32)
    best, scale, best_inverse = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
    for start in range(0, n, LANES):
        n_lanes = min(LANES, n - start)
        for k in range(n_lanes):
            for i in range(16):
                xt[i, k] = x[start + k, i]
        for k in range(n_lanes, LANES):
            for i in range(16):
                xt[i, k] = ONE
        for k in range(LANES):
            largest[k], at_largest[k] = ZERO, ZERO
        if len(weights):
            for k in range(LANES):
                for i in range(16):
                    wt[i, k] = weights[start + k, i] if k < n_lanes else ONE
        else:
            for i in range(16):
                for k in range(LANES):
                    wt[i, k] = xt[i, k] * xt[i, k]
        for i in range(16):
            for k in range(LANES):
                larger = abs(xt[i, k]) > largest[k]
                at_largest[k] = xt[i, k] if larger else at_largest[k]
                largest[k] = abs(xt[i, k]) if larger else largest[k]
        for attempt in range(19):
            # ggml begins with the plain scale, and then tries nine steps below it and nine above.
            step = attempt - 10 if attempt <= 9 else attempt - 9
            off = ZERO if attempt == 0 else TENTH * F32(step)
            top = -(n_max + off)
            for k in range(LANES):
                inverse[k] = top / at_largest[k]
                sum_xl[k], sum_l2[k] = ZERO, ZERO
            for i in range(16):
                for k in range(LANES):
                    value = xt[i, k]
                    level = (inverse[k] * value + ROUNDS) - ROUNDS
                    level = least if level < least else level
                    level = most if level > most else level
                    weight = wt[i, k]
                    sum_xl[k] += weight * value * level
                    sum_l2[k] += weight * level * level
            if attempt == 0:
                for k in range(LANES):
                    scale[k] = sum_xl[k] / sum_l2[k] if sum_l2[k] != ZERO else ZERO
                    best[k] = scale[k] * sum_xl[k]
                    best_inverse[k] = inverse[k]
            else:
                for k in range(LANES):
                    better = sum_l2[k] > ZERO and sum_xl[k] * sum_xl[k] > best[k] * sum_l2[k]
                    fresh = sum_xl[k] / sum_l2[k]
                    scale[k] = fresh if better else scale[k]
                    best[k] = fresh * sum_xl[k] if better else best[k]
                    best_inverse[k] = inverse[k] if better else best_inverse[k]
        for k in range(n_lanes):
            is_zero = largest[k] < TINY
            scales[start + k] = ZERO if is_zero else scale[k]
            found[start + k] = ZERO if is_zero else best_inverse[k]
