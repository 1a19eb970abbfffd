"""The contract of a checkpoint's weights: named tensors, whose rows are read when they are requested.

Every form of checkpoint is a `TensorSource`. A source that dequantizes, adds an adapter or merges checkpoints
is one around others, so that whoever reads it needn't know.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class TensorEntry:
    """A tensor of a source: its shape in the checkpoint's order (rows first), and the dtype of its rows."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        return self.n_elements * self.dtype.itemsize


class TensorSource(ABC):
    """Named tensors, read lazily.

    `entries` is known at once and never changes. `rows` and `columns` may be called from several threads at
    once. Whoever opened a source closes it; a source around others closes them.

    A source must have `entries`, `rows` and `close`. The rest has defaults, which are right for a source that
    reads open files. A source around others passes on what concerns them.
    """

    @property
    @abstractmethod
    def entries(self) -> Mapping[str, TensorEntry]:
        """Every tensor by its name, in the order of the files."""

    @abstractmethod
    def rows(self, name: str, start: int, stop: int) -> Rows:
        """Return rows [start, stop) of the first axis: `[stop - start, *shape[1:]]`, owned by the caller.

        A scalar has one row. Raises CheckpointError when the file no longer holds what its header promised.
        """

    @abstractmethod
    def close(self) -> None:
        """Release files; no read may follow or be under way."""

    def columns(self, name: str, start: int, stop: int) -> Rows:
        """Return columns [start, stop) of a matrix: `[shape[0], stop - start]`.

        The default reads all rows; a source that can read some columns alone overrides it.
        """
        return self.rows(name, 0, self.entries[name].shape[0])[:, start:stop]

    @property
    def memory_bytes(self) -> int:
        """Bytes that the source holds at most, whatever is read: what it prefetches or keeps."""
        return 0

    @property
    def working_itemsize(self) -> int:
        """Bytes that `rows` needs for each number it returns, in addition to the rows themselves."""
        return 0

    @property
    def is_stream(self) -> bool:
        """True if the data passes by once, so that reading a row a second time means fetching it again."""
        return False

    def expect(self, names: Sequence[str]) -> None:  # noqa: B027  most sources need no announcement
        """Announce that these tensors will be read, each once, in this order; called at most once.

        The default does nothing. Raises CheckpointError when a tensor can't be given in a single pass.
        """


class BlockSource(TensorSource):
    """A source some of whose tensors are ggml's blocks already: a GGUF file, experts in MXFP4."""

    @abstractmethod
    def ggml_type(self, name: str) -> int | None:
        """Return the ggml type that the tensor has; None for one that has no such blocks."""

    def second_scale(self, name: str) -> np.float32:
        """Return the factor of all numbers of a tensor in blocks that the blocks themselves don't hold.

        The default is for blocks that hold all that counts. Raises CheckpointError.
        """
        del name
        return np.float32(1)

    @abstractmethod
    def raw_rows(self, name: str, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Return the bytes of rows [start, stop) of a tensor in blocks, undecoded; a vector is one row.

        Where rows are matrices, as in `rows`: `[stop - start, n_rows, bytes of a row]`.
        """
