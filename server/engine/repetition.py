"""`repeats`: tells whether tokens are one passage again and again. Pure.

A model that has fallen into a loop rarely leaves it, and writes to the end of its context.
"""

from __future__ import annotations

from collections.abc import Sequence

TIMES_MIN = 8
"""A passage that comes so many times in a row is a loop."""
LOOK_TOKENS = 16
"""An answer is looked at after each so many tokens."""


def repeats(tokens: Sequence[int]) -> bool:
    """Return True if `tokens` are a passage, at least `TIMES_MIN` times in a row; the last may be cut off.

    The time grows with their number.
    """
    n = len(tokens)
    borders = [0] * n
    border = 0
    for i in range(1, n):
        while border and tokens[i] != tokens[border]:
            border = borders[border - 1]
        if tokens[i] == tokens[border]:
            border += 1
        borders[i] = border
    return n >= TIMES_MIN and (n - border) * TIMES_MIN <= n
