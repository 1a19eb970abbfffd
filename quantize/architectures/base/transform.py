"""Transforms from a checkpoint's tensors to an output tensor's rows, described as data.

An output tensor is seen as `[n_rows, n_per_row]`; the pipeline requests blocks of rows. Each transform says
which multiple of rows it can make on their own (`row_step`), so that nothing is read twice. Transforms nest:
`RotaryHeads(64, Slice(0, 512, of=1024))` takes rows and then reorders them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.source import Rows, TensorSource

Shape = tuple[int, ...]


class Transform(Protocol):
    """A way to make the rows of an output tensor from its source tensors."""

    @property
    def row_step(self) -> int:
        """The number of rows at whose multiples blocks must begin."""

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        """Return the shape of each source tensor for an output of `shape` (both rows first)."""

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        """Return output rows [start, stop) as `[stop - start, n_per_row]`, or a vector; any float dtype."""


@dataclass(frozen=True)
class Same:
    """The tensor as it is; one of three axes as its rows one below the other."""

    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape,)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        shape = source.entries[names[0]].shape
        if len(shape) < 3:
            return source.rows(names[0], start, stop)
        inner = math.prod(shape[1:-1])
        first, last = start // inner, -(-stop // inner)
        rows = source.rows(names[0], first, last).reshape(-1, shape[-1])
        return rows[start - first * inner : stop - first * inner]


class SameShape:
    """The part that transforms share whose rows are those of `inner`, with other numbers."""

    inner: Transform

    @property
    def row_step(self) -> int:
        return self.inner.row_step

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return self.inner.source_shapes(shape)


@dataclass(frozen=True)
class RotaryHeads:
    """Rows of each attention head from half-and-half order to pairs: 0, d/2, 1, d/2+1, …

    transformers rotates the first half of a head against the second; llama.cpp's `llama` rotates neighbours.
    The same function of the inputs, as long as q and k are both reordered. Also for a bias, one number per
    row. Of a head that is rotated in part, only the first `rotated` rows are reordered.
    """

    head_dim: int
    inner: Transform = field(default_factory=Same)
    rotated: int | None = None

    @property
    def row_step(self) -> int:
        return math.lcm(self.head_dim, self.inner.row_step)

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return self.inner.source_shapes(shape)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = self.inner.read(source, names, start, stop)
        if self.rotated is None or self.rotated == self.head_dim:
            heads = rows.reshape(-1, 2, self.head_dim // 2, *rows.shape[1:])
            return heads.swapaxes(1, 2).reshape(rows.shape)
        heads = rows.reshape(-1, self.head_dim, *rows.shape[1:])
        order = np.arange(self.head_dim)
        order[: self.rotated] = order[: self.rotated].reshape(2, -1).T.reshape(-1)
        return heads[:, order].reshape(rows.shape)


@dataclass(frozen=True)
class HeadHalves:
    """The first `rotated` rows of each head from neighbours to halves: 0, 2, …, 1, 3, …; the rest stays."""

    head_dim: int
    rotated: int

    @property
    def row_step(self) -> int:
        return self.head_dim

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape,)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = source.rows(names[0], start, stop)
        order = [*range(0, self.rotated, 2), *range(1, self.rotated, 2), *range(self.rotated, self.head_dim)]
        return rows.reshape(-1, self.head_dim, *rows.shape[1:])[:, order].reshape(rows.shape)


@dataclass(frozen=True)
class Slice:
    """Rows [first, first + n) of a tensor that has `of` rows: one of several that were fused."""

    first: int
    n: int
    of: int
    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return ((self.of, *shape[1:]),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        return source.rows(names[0], self.first + start, self.first + stop)


@dataclass(frozen=True)
class SliceOfEach:
    """`n` of the `of` rows of each matrix in a tensor of three axes, each `step`th from `first` on.

    A part of experts. Whole matrices at a time, as they are stored.
    """

    first: int
    n: int
    of: int
    step: int = 1

    @property
    def row_step(self) -> int:
        return self.n

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return ((shape[0], self.of, *shape[2:]),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        return self.rows_of(source.rows(names[0], *self.matrices(start, stop)), start, stop)

    def matrices(self, start: int, stop: int) -> tuple[int, int]:
        """Return the matrices that output rows [start, stop) are of, as first and behind the last."""
        return start // self.n, -(-stop // self.n)

    def rows_of(self, matrices: Rows, start: int, stop: int) -> Rows:
        """Return output rows [start, stop) of those `matrices`."""
        part = matrices[:, self.first : self.first + self.n * self.step : self.step]
        rows = part.reshape(-1, matrices.shape[-1])
        at = start // self.n * self.n
        return rows[start - at : stop - at]


@dataclass(frozen=True)
class ColumnsOfEach:
    """`n` of the `of` columns of each matrix, each `step`th from `first` on, as rows: experts input first.

    A tensor of two axes is one matrix whose columns are a vector's part for each expert: it keeps its rows.
    """

    first: int
    n: int
    of: int
    step: int = 1

    @property
    def row_step(self) -> int:
        return self.n

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return ((shape[0], *shape[2:], self.of),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        columns = slice(self.first, self.first + self.n * self.step, self.step)
        if len(source.entries[names[0]].shape) == 2:
            return source.rows(names[0], start, stop)[:, columns]
        matrices = source.rows(names[0], start // self.n, -(-stop // self.n))
        rows = matrices[:, :, columns].swapaxes(1, 2).reshape(-1, matrices.shape[1])
        at = start // self.n * self.n
        return rows[start - at : stop - at]


@dataclass(frozen=True)
class Runs:
    """Runs of rows [first, stop) of a tensor that has `of` rows, one below the other: heads put in order."""

    runs: tuple[tuple[int, int], ...]
    of: int
    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return ((self.of, *shape[1:]),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        parts: list[Rows] = []
        at = 0
        for first, last in self.runs:
            begin, end = max(start, at), min(stop, at + last - first)
            if begin < end:
                parts.append(source.rows(names[0], first + begin - at, first + end - at))
            at += last - first
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class ColumnRuns:
    """Runs of columns [first, stop) of a matrix, side by side: the same order for what a matrix reads."""

    runs: tuple[tuple[int, int], ...]
    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape,)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = source.rows(names[0], start, stop)
        return np.concatenate([rows[:, first:last] for first, last in self.runs], axis=1)


@dataclass(frozen=True)
class Channels:
    """Rows of a convolution along the tokens, which a checkpoint has as [channels, 1, width]."""

    inner: Transform = field(default_factory=Same)

    @property
    def row_step(self) -> int:
        return self.inner.row_step

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return tuple((one[0], 1, *one[1:]) for one in self.inner.source_shapes(shape))

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        return self.inner.read(source, names, start, stop).reshape(stop - start, -1)


@dataclass(frozen=True)
class Exp(SameShape):
    """The exponential of each number, times a factor: decays of which the logarithm is stored."""

    factor: float
    inner: Transform = field(default_factory=Same)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = self.inner.read(source, names, start, stop)
        with np.errstate(over="ignore"):
            return (self.factor * np.exp(rows.astype(np.float64))).astype(np.float32)


@dataclass(frozen=True)
class Axes:
    """The rows of a tensor that has further axes of one number, in a checkpoint with the shape `source`."""

    source: Shape
    inner: Transform = field(default_factory=Same)

    @property
    def row_step(self) -> int:
        return self.inner.row_step

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        del shape
        return self.inner.source_shapes(self.source)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        return self.inner.read(source, names, start, stop).reshape(stop - start, -1)


@dataclass(frozen=True)
class Stack:
    """Sources of one shape along a new first axis (experts), or `joined`: one below the other."""

    n: int
    joined: bool = False
    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        one = (shape[0] // self.n, *shape[1:]) if self.joined else shape[1:]
        return (one,) * self.n

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        shape = source.entries[names[0]].shape
        if len(shape) == 1 and not self.joined:
            return np.stack([source.rows(name, 0, shape[0]) for name in names[start:stop]])
        per_source = math.prod(shape[:-1]) if len(shape) > 1 else shape[0]
        parts = [
            source.rows(name, max(start - at, 0), min(stop - at, per_source))
            for at, name in zip(range(0, per_source * len(names), per_source), names, strict=True)
            if start < at + per_source and at < stop
        ]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class Transpose:
    """A matrix whose rows are the source's columns. It is read whole: one block."""

    n_rows: int

    @property
    def row_step(self) -> int:
        return self.n_rows

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape[::-1],)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        whole = source.rows(names[0], 0, source.entries[names[0]].shape[0])
        return whole.T[start:stop]


@dataclass(frozen=True)
class Plus(SameShape):
    """Each number plus a constant, in F32: norms that store what is added to one."""

    constant: float
    inner: Transform = field(default_factory=Same)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = self.inner.read(source, names, start, stop)
        return rows.astype(np.float32) + np.float32(self.constant)


@dataclass(frozen=True)
class Reshaped:
    """The numbers of a tensor of the shape `of`, in their order, as rows of `width`.

    So a convolution's [channels, 1, kernel] loses its middle axis, and a vector becomes a matrix.
    """

    of: Shape
    width: int
    inner: Transform = field(default_factory=Same)

    @property
    def row_step(self) -> int:
        return math.lcm(self.width, self._inner_width * self.inner.row_step) // self.width

    @property
    def _inner_width(self) -> int:
        return self.of[-1] if len(self.of) > 1 else 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        del shape
        return self.inner.source_shapes(self.of)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        first = start * self.width // self._inner_width
        last = -(-stop * self.width // self._inner_width)
        rows = self.inner.read(source, names, first, last).reshape(-1)
        at = first * self._inner_width
        return rows[start * self.width - at : stop * self.width - at].reshape(-1, self.width)


@dataclass(frozen=True)
class Scale(SameShape):
    """Each number times a factor, in F32. With `runs`, each run of rows, by its length, has its own."""

    factor: float
    inner: Transform = field(default_factory=Same)
    runs: tuple[tuple[int, float], ...] = ()

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = self.inner.read(source, names, start, stop).astype(np.float32) * np.float32(self.factor)
        if not self.runs:
            return rows
        counts, factors = zip(*self.runs, strict=True)
        own = np.repeat(np.array(factors, np.float32), counts)[start:stop]
        return rows * own.reshape(-1, *(1,) * (rows.ndim - 1))


@dataclass(frozen=True)
class TokenTable:
    """A vector of tokens' ids, stored as their distances from their places: whole numbers, no weights."""

    n_vocab: int
    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape,)

    def read(
        self, source: TensorSource, names: Sequence[str], start: int, stop: int
    ) -> npt.NDArray[np.int64]:
        """Return the ids [start, stop). Raises CheckpointError for one that isn't in the vocabulary."""
        ids = source.rows(names[0], start, stop).astype(np.int64) + np.arange(start, stop)
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.n_vocab:
            raise CheckpointError(f"{names[0]} names tokens beyond a vocabulary of {self.n_vocab:,}")
        return ids


@dataclass(frozen=True)
class Constant:
    """A small tensor that no checkpoint holds: its values are computed from the configuration."""

    values: tuple[float, ...]
    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        del shape
        return ()

    def read(
        self, source: TensorSource, names: Sequence[str], start: int, stop: int
    ) -> npt.NDArray[np.float32]:
        del source, names
        return np.array(self.values[start:stop], np.float32)
