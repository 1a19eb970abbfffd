"""`Factor`: the second moments of a weight's input, made ready for rounding. Pure.

For a weight W and its input x, the product's mean squared error is tr(E H Eᵀ), with E the weights' errors and
H = E[x xᵀ]. H = U Uᵀ with U upper turns it into a sum over columns, each of which sees only those before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SHRINKAGE: Final = 0.15
"""Correlations count so much less than they were seen: what is only this text's does no harm elsewhere."""
DAMPING: Final = 0.003
"""This part of the median variance is added to each column's."""
_MORE_DAMPING: Final = (1.0, 10.0, 100.0)


@dataclass(frozen=True, eq=False)
class Factor:
    """`moments` [n, n], shrunk and damped, are `upper` · `upper`ᵀ, [n, n]; both f32 in C order.

    `importance` [n]: the columns' weights in the plain encoding, which the rounding has to beat. `held_out`
    [m, n]: inputs that aren't in the moments.
    """

    moments: Floats
    upper: Floats
    importance: Floats
    held_out: Floats

    @property
    def n_bytes(self) -> int:
        """The memory that it takes."""
        return self.moments.nbytes + self.upper.nbytes + self.held_out.nbytes


def factorize(
    moments: Floats,
    shrinkage: float = SHRINKAGE,
    damping: float = DAMPING,
    *,
    importance: Floats | None = None,
    held_out: Floats | None = None,
) -> Factor | None:
    """Return the factor of a weight's moments [n, n]; None for moments that have none.

    Those aren't finite, or all zero, or far from positive definite. Only the upper triangle is read. The
    plain encoding's `importance` is the variances, unless it is given.
    """
    variances = np.diagonal(moments).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of absurd numbers is looked at here
        return _factorized(moments, variances, shrinkage, damping, importance, held_out)


def _factorized(
    moments: Floats,
    variances: npt.NDArray[np.float64],
    shrinkage: float,
    damping: float,
    importance: Floats | None,
    held_out: Floats | None,
) -> Factor | None:
    if not np.isfinite(moments).all() or not (variances > 0).any() or (variances < 0).any():
        return None
    unit = float(np.median(variances[variances > 0]))
    for times in _MORE_DAMPING:
        ready = _ready(moments, variances, shrinkage, damping * times * unit)
        try:
            lower = np.linalg.cholesky(ready[::-1, ::-1])
        except np.linalg.LinAlgError:
            continue
        upper = np.ascontiguousarray(lower[::-1, ::-1], np.float32)
        if np.isfinite(upper).all() and (np.diagonal(upper) > 0).all():
            weights = variances if importance is None else importance
            kept = np.empty((0, len(upper)), np.float32) if held_out is None else held_out
            return Factor(ready.astype(np.float32), upper, np.ascontiguousarray(weights, np.float32), kept)
    return None


def _ready(
    moments: Floats, variances: npt.NDArray[np.float64], shrinkage: float, damping: float
) -> npt.NDArray[np.float64]:
    """Return the symmetric, shrunk and damped moments, in f64."""
    ready = np.triu(moments, 1).astype(np.float64) * (1.0 - shrinkage)
    ready += ready.T
    ready[np.diag_indices(len(ready))] = variances + damping
    return ready


def asked_shrinkage(moments: Floats, held_out: Floats, least: float = SHRINKAGE) -> float:
    """Return the shrinkage that rows `held_out` [m, n] ask for: that with which correlations fit theirs best.

    It is `least` where they bear the correlations out, 1 where they have none of them.
    """
    n_rows = len(held_out)
    if n_rows < 2:
        return least
    variances = np.diagonal(moments)
    scale = np.zeros_like(variances)
    np.divide(1.0, np.sqrt(variances), out=scale, where=variances > 0)
    upper = np.triu(moments, 1) * scale[:, None] * scale[None, :]
    with np.errstate(over="ignore", invalid="ignore"):  # absurd rows bear nothing out
        rows = held_out * scale
        seen = 2.0 * float(np.square(upper, dtype=np.float64).sum())
        borne_out = 2.0 * float(np.sum((rows @ upper) * rows, dtype=np.float64)) / n_rows
    if seen <= 0 or not np.isfinite(borne_out):
        return 1.0
    return float(np.clip(1.0 - borne_out / seen, least, 1.0))
