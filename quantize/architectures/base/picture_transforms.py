"""Transforms that projectors need: of convolutions over pictures, and of a token's embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quantize.architectures.base.transform import Shape
from quantize.checkpoint.source import Rows, TensorSource


@dataclass(frozen=True)
class Frame:
    """One of the `of` pictures in a row that a convolution of three axes reads, as one of two axes.

    The source has the shape [channels out, channels in, of, height, width].
    """

    number: int
    n_channels: int
    side: int
    of: int = 2

    @property
    def row_step(self) -> int:
        return self.n_channels * self.side

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return ((*shape[:2], self.of, *shape[2:]),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        whole = source.rows(names[0], start // self.row_step, stop // self.row_step)
        return whole[:, :, self.number].reshape(-1, self.side)


@dataclass(frozen=True)
class ChannelsFirst:
    """A convolution over patches from a matrix whose columns are height, width, channels, in this order."""

    n_channels: int
    side: int

    @property
    def row_step(self) -> int:
        return self.n_channels * self.side

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return ((shape[0], self.side * self.side * self.n_channels),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = source.rows(names[0], start // self.row_step, stop // self.row_step)
        patches = rows.reshape(-1, self.side, self.side, self.n_channels)
        return patches.transpose(0, 3, 1, 2).reshape(-1, self.side)


@dataclass(frozen=True)
class OneRow:
    """Row `number` of a matrix that has `of` rows, as a vector: the embedding of one token."""

    number: int
    of: int
    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return ((self.of, shape[0]),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        return source.rows(names[0], self.number, self.number + 1).reshape(-1)[start:stop]
