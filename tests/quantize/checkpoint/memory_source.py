"""A TensorSource over arrays, which can only read rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from quantize.checkpoint.source import Rows, TensorEntry, TensorSource


class MemorySource(TensorSource):
    """Arrays as a source. `read` lists the rows that were requested, `expected` the names announced."""

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        self.tensors = dict(tensors)
        self._entries = {name: TensorEntry(name, a.shape, a.dtype) for name, a in tensors.items()}
        self.read: list[tuple[str, int, int]] = []
        self.expected: list[str] = []
        self.closed = False

    def expect(self, names: Sequence[str]) -> None:
        self.expected += names

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    def rows(self, name: str, start: int, stop: int) -> Rows:
        self.read.append((name, start, stop))
        array = self.tensors[name]
        return (array if array.shape else array.reshape(1))[start:stop].copy()

    def close(self) -> None:
        self.closed = True
