"""Kernels that choose levels by what errors of all columns do together. Compiled.

Numbers lie in lanes: [columns, rows], so that each operation is done for all rows of a piece at once. A panel
is some columns, whole blocks of the type; `step` and `low` [groups, rows] are of its groups.
"""

# numba compiles loops over numbers: no objects, and a comparison is quicker than a call of min or max. The
# choice of the nearest level stands in two kernels: its own function would have to be compiled before them.
# ruff: noqa: C901, PLR0912, PLR0913, PLR0917, FURB136

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import QuantizationError

F32 = np.float32
ZERO = F32(0)


def feed(
    original: Any,
    target: Any,
    upper: Any,
    step: Any,
    low: Any,
    group: int,
    ends: Any,
    book: Any,
    level: Any,
    error: Any,
    loss: Any,
) -> None:
    """Choose `level` column by column; each column is rounded at what makes up for the errors before it.

    `original` [columns, rows] are the weights, `target` the same after the errors of earlier panels. `upper`
    [columns, columns] is the panel's part of the moments' factor. Levels are whole numbers within `ends` [2],
    or the nearest of `book`, ascending, unless that is empty. `error` becomes original less value, `loss`
    [rows] the panel's share of the rows' weighted error.
    """
    n, rows = original.shape
    carried = np.zeros((n, rows), F32)
    least, most = ends[0], ends[1]
    n_book = len(book)
    for r in range(rows):
        loss[r] = ZERO
    for j in range(n):
        g = j // group
        pivot = upper[j, j]
        inverse = F32(1) / pivot
        for r in range(rows):
            goal = target[j, r] + carried[j, r] * inverse
            size = step[g, r]
            chosen = (goal + low[g, r]) / size if size != ZERO else ZERO
            if n_book == 0:
                chosen = np.rint(chosen)
                chosen = least if chosen < least else chosen
                chosen = most if chosen > most else chosen
            else:
                nearest = book[0]
                for i in range(n_book - 1):
                    nearest = book[i + 1] if chosen > F32(0.5) * (book[i] + book[i + 1]) else nearest
                chosen = nearest
            value = size * chosen - low[g, r]
            level[j, r] = chosen
            error[j, r] = original[j, r] - value
            off = pivot * (goal - value)
            loss[r] += off * off
        for k in range(j + 1, n):
            share = upper[j, k]
            for r in range(rows):
                carried[k, r] += share * error[j, r]


def descend(
    level: Any, value: Any, slope: Any, moments: Any, step: Any, low: Any, group: int, ends: Any, book: Any
) -> None:
    """Choose each column's best level while all others are held, column by column; nothing becomes worse.

    `value` [columns, rows] is what the levels stand for, `slope` (value − original) · moments over all the
    row's columns; both follow. `moments` [columns, columns] is the panel's part.
    """
    n, rows = level.shape
    change = np.empty(rows, F32)
    least, most = ends[0], ends[1]
    n_book = len(book)
    for j in range(n):
        g = j // group
        inverse = F32(1) / moments[j, j]
        moved = False
        for r in range(rows):
            size = step[g, r]
            goal = value[j, r] - slope[j, r] * inverse
            chosen = (goal + low[g, r]) / size if size != ZERO else level[j, r]
            if n_book == 0:
                chosen = np.rint(chosen)
                chosen = least if chosen < least else chosen
                chosen = most if chosen > most else chosen
            else:
                nearest = book[0]
                for i in range(n_book - 1):
                    nearest = book[i + 1] if chosen > F32(0.5) * (book[i] + book[i + 1]) else nearest
                chosen = nearest
            fresh = size * chosen - low[g, r]
            change[r] = fresh - value[j, r]
            moved = moved or change[r] != ZERO
            level[j, r] = chosen
            value[j, r] = fresh
        if moved:
            for k in range(n):
                share = moments[j, k]
                for r in range(rows):
                    slope[k, r] += share * change[r]


def refit_groups(
    level: Any,
    d: Any,
    dmin: Any,
    scale: Any,
    minimum: Any,
    slope: Any,
    moments: Any,
    sums: Any,
    group: int,
    ends: Any,
) -> None:
    """Set each group's scale, then its minimum, to the whole number that loses least; `slope` follows.

    `d`, `dmin`, `scale`, `minimum` [groups, rows]; `sums` [columns, groups] are those of `moments` over each
    group's columns. `ends` [2, 2]: the least and the most of scales, then of minima, which are left alone
    where both are 0.
    """
    n, rows = level.shape
    along = np.empty((group, rows), F32)
    curved = np.empty((n, rows), F32)
    change = np.empty(rows, F32)
    curve = np.empty(rows, F32)
    tilt = np.empty(rows, F32)
    for g in range(n // group):
        first = g * group
        for j in range(group):
            for r in range(rows):
                along[j, r] = d[g, r] * level[first + j, r]
        for k in range(n):
            for r in range(rows):
                curved[k, r] = ZERO
            for j in range(0, group, 4):
                s0, s1 = moments[k, first + j], moments[k, first + j + 1]
                s2, s3 = moments[k, first + j + 2], moments[k, first + j + 3]
                for r in range(rows):
                    curved[k, r] += (s0 * along[j, r] + s1 * along[j + 1, r]) + (
                        s2 * along[j + 2, r] + s3 * along[j + 3, r]
                    )
        for r in range(rows):
            curve[r], tilt[r] = ZERO, ZERO
        for j in range(group):
            for r in range(rows):
                curve[r] += along[j, r] * curved[first + j, r]
                tilt[r] += along[j, r] * slope[first + j, r]
        for r in range(rows):
            moved = np.rint(-tilt[r] / curve[r]) if curve[r] > ZERO else ZERO
            fresh = scale[g, r] + moved
            fresh = ends[0, 0] if fresh < ends[0, 0] else fresh
            fresh = ends[0, 1] if fresh > ends[0, 1] else fresh
            change[r] = fresh - scale[g, r]
            scale[g, r] = fresh
        for k in range(n):
            for r in range(rows):
                slope[k, r] += change[r] * curved[k, r]
        if ends[1, 0] == ends[1, 1]:
            continue
        whole = ZERO
        for j in range(group):
            whole += sums[first + j, g]
        for r in range(rows):
            tilt[r] = ZERO
        for j in range(group):
            for r in range(rows):
                tilt[r] -= dmin[g, r] * slope[first + j, r]
        for r in range(rows):
            bent = dmin[g, r] * dmin[g, r] * whole
            moved = np.rint(-tilt[r] / bent) if bent > ZERO else ZERO
            fresh = minimum[g, r] + moved
            fresh = ends[1, 0] if fresh < ends[1, 0] else fresh
            fresh = ends[1, 1] if fresh > ends[1, 1] else fresh
            change[r] = (minimum[g, r] - fresh) * dmin[g, r]
            minimum[g, r] = fresh
        for k in range(n):
            for r in range(rows):
                slope[k, r] += change[r] * sums[k, g]


def dots(a: Any, b: Any) -> Any:
    """Return the products of each row's lanes, [rows] f64, of two arrays [columns, rows]."""
    n, rows = a.shape
    total = np.zeros(rows, np.float64)
    for j in range(n):
        for r in range(rows):
            total[r] += np.float64(a[j, r]) * np.float64(b[j, r])
    return total


@dataclass(frozen=True)
class Feedback:
    """The kernels, compiled at their first call."""

    feed: Callable[..., None]
    descend: Callable[..., None]
    refit_groups: Callable[..., None]
    dots: Callable[..., npt.NDArray[np.float64]]


def compile_feedback(cache_dir: Path) -> Feedback:
    """Return the kernels; what is compiled is kept in `cache_dir`. Raises QuantizationError without numba."""
    try:
        import numba
    except ImportError as error:
        raise QuantizationError(
            f"calibrated rounding needs numba, which can't be imported here ({error}); install it with: "
            "pip install numba"
        ) from error
    numba.config.CACHE_DIR = str(cache_dir)  # type: ignore[attr-defined]  # set by numba itself
    compiled: Any = partial(numba.njit, nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
    return Feedback(compiled(feed), compiled(descend), compiled(refit_groups), compiled(dots))
