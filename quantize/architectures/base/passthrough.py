"""Transforms of tensors that are ggml's blocks already: in a GGUF file, or experts in MXFP4."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from quantize.architectures.base.transform import Shape, SliceOfEach, Transform
from quantize.checkpoint.source import BlockSource, Rows, TensorSource


@runtime_checkable
class BlockTransform(Transform, Protocol):
    """A transform that can also hand the source's blocks on, undecoded."""

    @property
    def ggml_type(self) -> int:
        """The type that the tensor has in the source, from which llama.cpp's rules start."""

    def read_raw(
        self, source: BlockSource, names: Sequence[str], start: int, stop: int
    ) -> npt.NDArray[np.uint8]:
        """Return the bytes of output rows [start, stop)."""


@dataclass(frozen=True)
class Passthrough:
    """The tensor itself. `ggml_type` is its type in the file, from which llama.cpp's rules start."""

    ggml_type: int
    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        """Return the source's shape: a GGUF source has vectors and matrices; further axes are more rows."""
        return (shape if len(shape) == 1 else (math.prod(shape[:-1]), shape[-1]),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        return source.rows(names[0], start, stop)

    def read_raw(
        self, source: BlockSource, names: Sequence[str], start: int, stop: int
    ) -> npt.NDArray[np.uint8]:
        return source.raw_rows(names[0], start, stop)


@dataclass(frozen=True)
class StoredExperts(SliceOfEach):
    """Rows of each expert's matrix, of experts whose numbers are blocks of `ggml_type`."""

    ggml_type: int = 0

    def read_raw(
        self, source: BlockSource, names: Sequence[str], start: int, stop: int
    ) -> npt.NDArray[np.uint8]:
        return self.rows_of(source.raw_rows(names[0], *self.matrices(start, stop)), start, stop)
