"""The tensor stream: what every form of checkpoint offers, and what adapters and merges wrap.

Names and shapes are known at once, data is read row by row when it is asked for. A source that dequantizes,
merges an adapter or mixes checkpoints implements the same protocol around another source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class TensorEntry:
    """A tensor of a source: its shape in the checkpoint's order (rows first), the dtype of its rows."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        return self.n_elements * self.dtype.itemsize


class TensorSource(Protocol):
    """Named tensors, read lazily. Safe to read from several threads at once."""

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        """Every tensor by its name, in the order of the files."""

    def rows(self, name: str, start: int, stop: int) -> Rows:
        """Rows [start, stop) of the first axis: `[stop - start, *shape[1:]]`, owned by the caller.

        Raises CheckpointError when the file no longer holds what its header promised.
        """

    def close(self) -> None:
        """Release files; no read may follow or be under way."""


@runtime_checkable
class BlockSource(Protocol):
    """A source whose tensors are ggml's blocks already: a GGUF file."""

    def raw_rows(self, name: str, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The bytes of rows [start, stop), undecoded; a vector is one row."""
