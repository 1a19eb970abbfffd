"""Weights that are stored as small numbers with scales: one for all, per output, per group, per block.

    weight[o, i] = (q[o, i] − zero[o', g_i]) · scale[o', g_i]

fp8 and compressed_tensors share this: they differ in how q is stored and in the names of the scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import ml_dtypes
import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.quantized.dequantize import contradiction
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource

FLOAT8: Final = ("float8_e4m3fn", "float8_e5m2")
SCALE_DTYPES: Final = ("float32", "float16", "bfloat16", "float8_e8m0fnu")
_TABLES: Final[Mapping[str, npt.NDArray[np.float32]]] = {
    dtype.name: np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)
    for dtype in (np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2))
}
"""The float32 that each byte of a float8 type means."""


@dataclass(frozen=True)
class Grid:
    """A tensor of scales or zeros over a matrix [n_out, n_in]: one for `rows_each` rows × `columns_each`."""

    tensor: str
    rows_each: int
    columns_each: int

    def read(self, source: TensorSource, start: int, stop: int) -> Rows:
        """Return those of the matrix' rows [start, stop): `[stop - start, n_groups]`."""
        first, last = start // self.rows_each, -(-stop // self.rows_each)
        values = source.rows(self.tensor, first, last).reshape(last - first, -1)
        return values[np.arange(start, stop) // self.rows_each - first]


class Numbers(Protocol):
    """The q of a layer, in the form in which they are stored."""

    def read(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return q's rows [start, stop): `[stop - start, n_in]`, owned by the caller."""


@dataclass(frozen=True)
class Plain:
    """Numbers stored as one element each: float8 or int8."""

    tensor: str

    def read(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        return floats(source.rows(self.tensor, start, stop))


def floats(numbers: Rows) -> npt.NDArray[np.float32]:
    """Return numbers, of float8 or int8, as a new array of float32."""
    table = _TABLES.get(numbers.dtype.name)
    return numbers.astype(np.float32) if table is None else np.take(table, numbers.view(np.uint8))


def factors(scales: Rows) -> npt.NDArray[np.float32]:
    """Return scales as float32; bytes are the exponents of powers of two, as in float8_e8m0fnu."""
    if scales.dtype == np.uint8:
        return np.ldexp(np.float32(1), scales.astype(np.int32) - 127)
    return scales.astype(np.float32)


@dataclass(frozen=True)
class ScaledLayer:
    """One linear layer.

    `zeros` is None for a symmetric one; `g_idx` names the tensor of each input's group.
    """

    name: str
    shape: tuple[int, int]
    parts: tuple[str, ...]
    numbers: Numbers
    scales: Grid
    zeros: Numbers | None = None
    g_idx: str | None = None

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        values = self.numbers.read(source, start, stop)
        scales = factors(self.scales.read(source, start, stop))
        zeros = None if self.zeros is None else self.zeros.read(source, start, stop)
        groups = self._groups(source, scales.shape[1])
        if groups is not None:
            scales = np.take(scales, groups, axis=1)
            if zeros is not None and zeros.shape[1] > 1:
                zeros = np.take(zeros, groups, axis=1)
        if zeros is not None:
            values -= zeros
        values *= scales
        return values

    def _groups(self, source: TensorSource, n_groups: int) -> npt.NDArray[np.intp] | None:
        """Return the group of each input; None where there is but one."""
        if n_groups == 1:
            return None
        if self.g_idx is None:
            return np.arange(self.shape[1], dtype=np.intp) // self.scales.columns_each
        groups = source.rows(self.g_idx, 0, self.shape[1]).astype(np.intp)
        if (groups == -1).any():  # written, but never filled in: there was no reordering
            return np.arange(self.shape[1], dtype=np.intp) // self.scales.columns_each
        if groups.min() < 0 or groups.max() >= n_groups:
            raise CheckpointError(
                f"tensor {self.g_idx} holds groups from {groups.min()} to {groups.max()}, and there are "
                f"{n_groups}; the file is damaged"
            )
        return groups


def grid_of(
    entries: Mapping[str, TensorEntry],
    name: str,
    shape: tuple[int, int],
    *,
    block: tuple[int, int] | None = None,
    group_size: int | None = None,
    form: str,
) -> Grid:
    """Return the grid of a matrix' scales or zeros: one, one per output, or as `block`/`group_size` say.

    Raises CheckpointError naming the tensor when its shape is none of these.
    """
    entry = entries[name]
    n_out, n_in = shape
    squeezed = entry.shape[::2] if len(entry.shape) == 4 and entry.shape[1::2] == (1, 1) else entry.shape
    if block is not None and squeezed == (-(-n_out // block[0]), -(-n_in // block[1])):
        return Grid(name, *block)
    if group_size is not None and entry.shape == (n_out, -(-n_in // group_size)):
        return Grid(name, 1, group_size)
    if block is None and group_size is None:
        if entry.n_elements == 1:
            return Grid(name, n_out, n_in)
        if entry.shape in ((n_out,), (n_out, 1)):
            return Grid(name, 1, n_in)
    expected = (
        f"one for each block of {list(block)}"
        if block is not None
        else f"one for each of the {n_out} outputs and {group_size} inputs"
        if group_size is not None
        else f"one for the tensor or for each of its {n_out} outputs"
    )
    raise contradiction(name, entry, expected, form)


def matrix_of(
    entries: Mapping[str, TensorEntry], name: str, dtypes: tuple[str, ...], form: str
) -> tuple[int, int]:
    """Return the shape of a matrix in the file. Raises CheckpointError naming the tensor."""
    entry = entries[name]
    if len(entry.shape) != 2 or entry.dtype.name not in dtypes or not entry.n_elements:
        raise contradiction(name, entry, f"a matrix of {' or '.join(dtypes)}", form)
    return entry.shape[0], entry.shape[1]


def require_scale(entry: TensorEntry, form: str) -> None:
    """Check a tensor of scales. Raises CheckpointError unless they are floats."""
    if entry.dtype.name not in SCALE_DTYPES:
        raise contradiction(entry.name, entry, " or ".join(SCALE_DTYPES), form)


def size_pair(value: Any, what: str) -> tuple[int, int] | None:
    """Return [rows, columns] of a block in a configuration. Raises CheckpointError: something else."""
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2 and all(type(size) is int and size > 0 for size in value):
        return value[0], value[1]
    raise CheckpointError(
        f"{what} in the quantization_config is {str(value)[:60]!r}; it must be two sizes such as [128, 128]"
    )
