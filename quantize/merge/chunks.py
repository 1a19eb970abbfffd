"""Whole tensors in bounded memory: chunks, the same for every reader, and values computed once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import ml_dtypes
import numpy as np
import numpy.typing as npt

from quantize.checkpoint.source import Rows, TensorEntry, TensorSource

CHUNK_ELEMENTS: Final = 2**20
"""A chunk has about this many elements (4 MiB of f32).

Sums go chunk by chunk, so the last bit depends on it.
"""

FLOATS: Final = ("float16", "bfloat16", "float32", "float64")
_BFLOAT16: Final = np.dtype(ml_dtypes.bfloat16)

Floats = npt.NDArray[np.float32]
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def as_float32(rows: Rows) -> Floats:
    """Return `rows` as f32 in C order, exactly (float64 is rounded); the same array if it is that already."""
    if rows.dtype == _BFLOAT16:
        bits = np.ascontiguousarray(rows).view(np.uint16).astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    return np.ascontiguousarray(rows, dtype=np.float32)


def round_to(rows: Floats, dtype: np.dtype[Any]) -> Rows:
    """Return `rows` rounded to nearest in `dtype`."""
    return rows if rows.dtype == dtype else rows.astype(dtype)


def row_ranges(entry: TensorEntry) -> Iterator[tuple[int, int]]:
    """Yield the tensor's rows in chunks of about CHUNK_ELEMENTS."""
    n_rows = n_rows_of(entry)
    step = max(1, CHUNK_ELEMENTS // max(1, entry.n_elements // max(1, n_rows)))
    for start in range(0, n_rows, step):
        yield start, min(start + step, n_rows)


def n_rows_of(entry: TensorEntry) -> int:
    """Return the number of rows, the size of the first axis; a scalar has one."""
    return entry.shape[0] if entry.shape else 1


def float_chunks(source: TensorSource, name: str) -> Iterator[Floats]:
    """Yield the tensor in chunks, as f32."""
    for start, stop in row_ranges(source.entries[name]):
        yield as_float32(source.rows(name, start, stop))


def are_equal(source: TensorSource, one: str, other: str) -> bool:
    """True if two tensors of a source have the same shape and the same numbers; reads both."""
    if source.entries[one].shape != source.entries[other].shape:
        return False
    pairs = zip(float_chunks(source, one), float_chunks(source, other), strict=True)
    return all(np.array_equal(left, right) for left, right in pairs)


@dataclass
class _Cell(Generic[Value]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Value | None = None


class Once(Generic[Key, Value]):
    """Values computed at the first `get` and kept. Threads that need the same one wait, others don't."""

    def __init__(self, keep: int | None = None) -> None:
        """Keep the `keep` most recent values, or all if it is None."""
        self._keep = keep
        self._lock = threading.Lock()
        self._cells: dict[Key, _Cell[Value]] = {}

    def get(self, key: Key, compute: Callable[[], Value]) -> Value:
        """Return the value for `key`. An error of `compute` is raised, and the next `get` tries again."""
        with self._lock:
            cell = self._cells.pop(key, None) or _Cell()
            self._cells[key] = cell  # now the most recent
            while self._keep is not None and len(self._cells) > self._keep:
                del self._cells[next(iter(self._cells))]
        with cell.lock:
            if cell.value is None:
                cell.value = compute()
            return cell.value
