"""Transforms of tensors that are ggml's blocks already: in a GGUF file, or in MXFP4 or NVFP4."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from models.llamacpp.quantization.ggml_types import row_size
from quantize.architectures.base.transform import (
    RotaryHeads,
    Runs,
    Same,
    SameShape,
    Shape,
    Slice,
    SliceOfEach,
    Stack,
    Transform,
)
from quantize.checkpoint.source import BlockSource, Rows, TensorEntry, TensorSource


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


@dataclass(frozen=True)
class KeptBlocks(SameShape):
    """Rows that `inner` makes by moving rows alone, so that those in blocks of `ggml_type` stay blocks."""

    ggml_type: int
    inner: Transform = field(default_factory=Same)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        return self.inner.read(source, names, start, stop)

    def read_raw(
        self, source: BlockSource, names: Sequence[str], start: int, stop: int
    ) -> npt.NDArray[np.uint8]:
        return self.inner.read(BlockRows(source, names, self.ggml_type), names, start, stop)


@dataclass(frozen=True)
class SecondScales:
    """A number for each of the sources: the factor of all its numbers that its blocks don't hold."""

    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        raise AssertionError(f"{shape}: it is no rule's transform, shapes are checked with the weights")

    def read(
        self, source: TensorSource, names: Sequence[str], start: int, stop: int
    ) -> npt.NDArray[np.float32]:
        assert isinstance(source, BlockSource), "only blocks have second scales"
        return np.array([source.second_scale(name) for name in names[start:stop]], np.float32)


def moves_rows(transform: Transform) -> bool:
    """Return whether each row of the output is a row of one source, so that blocks of rows can be kept."""
    if isinstance(transform, RotaryHeads):
        return moves_rows(transform.inner)
    if isinstance(transform, Stack):
        return not transform.joined
    return isinstance(transform, (Same, Slice, SliceOfEach, Runs))


class BlockRows(TensorSource):
    """The bytes of tensors in blocks, as matrices of numbers of one byte. It owns nothing."""

    def __init__(self, source: BlockSource, names: Sequence[str], ggml_type: int) -> None:
        self._source = source
        shapes = {name: source.entries[name].shape for name in names}
        self._entries = {
            name: TensorEntry(name, (*shape[:-1], row_size(ggml_type, shape[-1])), np.dtype(np.uint8))
            for name, shape in shapes.items()
        }

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    def rows(self, name: str, start: int, stop: int) -> Rows:
        shape = self._entries[name].shape
        return self._source.raw_rows(name, start, stop).reshape(stop - start, *shape[1:])

    def close(self) -> None:
        pass
