"""`Moments`: second moments of a weight's input, the sum of x xᵀ over a text, and rows beside it.

Weights that multiply the same rows share an input (query, key and value; gate and up). An expert's rows are
an input of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

ENOUGH_FOR_CORRELATIONS: Final = 128
"""An input of fewer rows says too little about how its columns go together: its weights are rounded plainly.
How large each column is takes half as many: `quantize.imatrix.rare_experts.ENOUGH_FOR_VARIANCES`.
"""
HELD_OUT_ROWS: Final = 256
"""So many rows of the windows that are held out are kept of each input."""
HELD_OUT_ROWS_OF_EXPERT: Final = 64
"""So many are kept of each expert's input: a mixture has thousands."""
FIRST_ROWS: Final = 32
"""The inputs of so many windows' first tokens are kept."""


@dataclass(frozen=True, order=True)
class InputName:
    """An input's moments.

    `total` [n, n] f32: the sum of x xᵀ over `n_rows` rows, its upper triangle at least. `first` [k, n]: rows
    of some windows' first tokens, which are in `total`, too; none for experts. `held_out` [m, n]: rows of
    windows that aren't in `total`.
    """

    weight: str
    matrix: int = 0

    def __str__(self) -> str:
        return f"{self.weight}[{self.matrix}]" if self.matrix else self.weight


@dataclass(frozen=True, eq=False)
class Moments:
    """An input's moments.

    `total` [n, n] f32: the sum of x xᵀ over `n_rows` rows, its upper triangle at least. `first` [k, n]: rows
    of some windows' first tokens, which are in `total`, too; none for experts. `held_out` [m, n]: rows of
    windows that aren't in `total`.
    """

    total: Floats
    n_rows: int
    first: Floats
    held_out: Floats
