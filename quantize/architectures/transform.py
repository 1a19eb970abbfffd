"""How an output tensor's rows are made from a checkpoint's: pure descriptions, carried out by `read`.

An output tensor is seen as `[n_rows, n_per_row]`; the pipeline asks for blocks of rows. Each transform says
which multiple of rows it can make on their own (`row_step`), so that nothing is read twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from quantize.checkpoint.source import Rows, TensorSource


class Transform(Protocol):
    """Rows of an output tensor from its source tensors."""

    @property
    def row_step(self) -> int:
        """Blocks of rows must begin at a multiple of this."""

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        """Output rows [start, stop), in any float dtype."""


@dataclass(frozen=True)
class Same:
    """The tensor as it is."""

    row_step: int = 1

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        return source.rows(names[0], start, stop)


@dataclass(frozen=True)
class RotaryHeads:
    """Rows of each attention head from half-and-half order to pairs: 0, d/2, 1, d/2+1, …

    transformers rotates the first half of a head against the second; llama.cpp's `llama` rotates neighbours.
    The same function of the inputs, as long as q and k are both reordered. Also for a bias, one number per
    row.
    """

    head_dim: int

    @property
    def row_step(self) -> int:
        return self.head_dim

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = source.rows(names[0], start, stop)
        heads = rows.reshape(-1, 2, self.head_dim // 2, *rows.shape[1:])
        return heads.swapaxes(1, 2).reshape(rows.shape)


@dataclass(frozen=True)
class Computed:
    """A small tensor that no checkpoint holds: its values are computed from the configuration."""

    values: tuple[float, ...]
    row_step: int = 1

    def read(
        self, source: TensorSource, names: Sequence[str], start: int, stop: int
    ) -> npt.NDArray[np.float32]:
        del source, names
        return np.array(self.values[start:stop], np.float32)
