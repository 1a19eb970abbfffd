"""The memory that calibrated rounding takes, reckoned before it begins. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quantize.calibration.rounding import PIECE_ROWS
from quantize.moments.moments import HELD_OUT_ROWS

FACTORS_KEPT: Final = 4
"""So many factors are kept for the next tensors: a layer's query, key and value, and its gate and up, share
theirs with one another in a file's order.
"""

_FACTOR_ITEMSIZE: Final = 8
"""The bytes that a factor has for each pair of columns."""
_MAKING_ITEMSIZE: Final = 36
"""The bytes for each pair of columns while a factor is made: moments, their mean, four matrices of f64."""
_PIECE_ITEMSIZE: Final = 64
"""The bytes for each number of a piece while it is rounded."""


def factors_bytes(widths: Sequence[int]) -> int:
    """Return the bytes that factors take at most, given the widths of tensors in their order."""
    sizes = [_FACTOR_ITEMSIZE * width**2 + 4 * HELD_OUT_ROWS * width for width in widths]
    kept = max((sum(sizes[i : i + FACTORS_KEPT + 1]) for i in range(len(sizes))), default=0)
    return kept + _MAKING_ITEMSIZE * max(widths, default=0) ** 2


def piece_bytes(width: int) -> int:
    """Return the bytes of the rounding of a piece of rows with `width` columns."""
    return _PIECE_ITEMSIZE * PIECE_ROWS * width
