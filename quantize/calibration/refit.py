"""The refit of blocks' scales while levels are held: d and dmin, then scales and minima of groups.

`slope` [columns, rows] is (value − original) · moments for the panel's columns, over all columns of the row;
it follows what changes. `moments` [columns, columns] is the panel's part.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from quantize.calibration.lanes import Lanes
from quantize.kernels.feedback import Feedback

F32: Final = np.float32
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_SINGULAR: Final = 1e-9
"""Both unknowns are solved for where the determinant is more than this part of its first product."""


def refit(lanes: Lanes, slope: Floats, moments: Floats, feedback: Feedback) -> None:
    """Set d and dmin, then scales and minima, to what loses least while levels are held; `slope` follows."""
    for number in range(len(lanes.d)):
        _refit_block(lanes, number, slope, moments, feedback)
    form = lanes.form
    if form.scale is None:
        return
    ends = np.array([form.scale, form.minimum or (0, 0)], F32)
    d = np.repeat(lanes.d, form.n_groups, axis=0)
    dmin = np.repeat(lanes.dmin, form.n_groups, axis=0)
    sums = moments.reshape(len(moments), -1, form.group).sum(axis=2)
    feedback.refit_groups(
        lanes.level, d, dmin, lanes.scale, lanes.minimum, slope, moments, sums, form.group, ends
    )


def _refit_block(lanes: Lanes, number: int, slope: Floats, moments: Floats, feedback: Feedback) -> None:
    """Set d and dmin of each row's block to the minimum of a quadratic in both, where that is lower.

    With p and m the values' derivatives by d and dmin, a change (x, y) costs
    2 (x g·p + y g·m) + x² p·Hp + 2xy m·Hp + y² m·Hm, where g is the slope.
    """
    form = lanes.form
    columns = slice(number * form.block, (number + 1) * form.block)
    groups = slice(number * form.n_groups, (number + 1) * form.n_groups)
    by_d = np.repeat(lanes.scale[groups], form.group, axis=0) * lanes.level[columns]
    slope_by_d = moments[:, columns] @ by_d
    own = slope[columns]
    dd, gd = feedback.dots(by_d, slope_by_d[columns]), feedback.dots(by_d, own)
    d = lanes.d[number]
    if form.has_dmin:
        by_m = -np.repeat(lanes.minimum[groups], form.group, axis=0)
        slope_by_m = moments[:, columns] @ by_m
        mm, gm = feedback.dots(by_m, slope_by_m[columns]), feedback.dots(by_m, own)
        dm = feedback.dots(by_m, slope_by_d[columns])
        x, y = _least(dd, dm, mm, gd, gm)
        y = _half(lanes.dmin[number] + y) - lanes.dmin[number]
    else:
        with np.errstate(all="ignore"):
            x = -gd / dd
        y = mm = gm = dm = np.zeros_like(dd)
    x = _half(d + x) - d
    gain = 2 * (x * gd + y * gm) + x * x * dd + 2 * x * y * dm + y * y * mm
    stays = ~(gain < 0)
    if form.scale is not None and form.has_dmin:
        stays |= lanes.dmin[number] + y < 0
    x[stays], y[stays] = 0, 0
    d += x.astype(F32)
    slope += x.astype(F32) * slope_by_d
    if form.has_dmin:
        lanes.dmin[number] += y.astype(F32)
        slope += y.astype(F32) * slope_by_m


def _least(dd: Doubles, dm: Doubles, mm: Doubles, gd: Doubles, gm: Doubles) -> tuple[Doubles, Doubles]:
    """Return the minimum of the quadratic; along its first unknown alone where both aren't told apart."""
    with np.errstate(all="ignore"):
        determinant = dd * mm - dm * dm
        both = determinant > _SINGULAR * dd * mm
        x = np.where(both, (gm * dm - gd * mm) / determinant, -gd / dd)
        y = np.where(both, (gd * dm - gm * dd) / determinant, 0)
    return x, y


def _half(values: Doubles) -> Doubles:
    """Return the numbers as F16 has them; what it can't have is as it was: no number."""
    with np.errstate(all="ignore"):
        return values.astype(np.float16).astype(np.float64)
