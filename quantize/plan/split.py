"""The layout of an output: one file, or parts that llama.cpp loads as one. Pure.

    NAME.TYPE.gguf                      or, with a limit,
    NAME.TYPE-00001-of-00003.gguf       all metadata, the first tensors
    NAME.TYPE-00002-of-00003.gguf       split.no, split.count, split.tensors.count; the next tensors …

Tensors are never cut: one that is larger than the limit has a part to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from models.errors import QuantizationError
from quantize.gguf.header import Metadata, TensorInfo, Value, ValueType, aligned, encode_header
from quantize.plan.plan import PlannedFile

MAX_PARTS: Final = 1000
"""An output has at most this many parts."""

SMALLEST_LIMIT_BYTES: Final = 2**20
"""A limit of fewer bytes than this for a part is refused."""


@dataclass(frozen=True)
class PlannedPart:
    """One file of an output: tensors [first, first + len(tensors)) of the plan, at offsets of their own."""

    metadata: Metadata
    tensors: tuple[TensorInfo, ...]
    tensor_bytes: tuple[int, ...]
    first: int

    @cached_property
    def header(self) -> bytes:
        return encode_header(self.metadata, self.tensors)

    @property
    def size_bytes(self) -> int:
        return len(self.header) + sum(map(aligned, self.tensor_bytes))

    def place(self, tensor: int) -> int:
        """Return the offset in the file, in bytes, of the plan's tensor number `tensor`."""
        return len(self.header) + self.tensors[tensor - self.first].offset


def parts(file: PlannedFile, limit_bytes: int | None = None) -> tuple[PlannedPart, ...]:
    """Return the output's files, in order; several only if it is larger than `limit_bytes`.

    Raises QuantizationError when the limit is too small to be meant.
    """
    whole = PlannedPart(file.metadata, file.tensors, file.tensor_bytes, file.first)
    if limit_bytes is None or whole.size_bytes <= limit_bytes:
        return (whole,)
    if limit_bytes < SMALLEST_LIMIT_BYTES:
        raise QuantizationError(
            f"parts of {limit_bytes:,} bytes are too small; give --split-size at least 1MiB"
        )
    runs = list(_runs(file, limit_bytes))
    if len(runs) > MAX_PARTS:
        raise QuantizationError(
            f"{file.type} would be {len(runs):,} parts, the limit is {MAX_PARTS:,}; raise --split-size"
        )
    return tuple(_part(file, number, len(runs), first, stop) for number, (first, stop) in enumerate(runs))


def part_name(name: str, number: int, count: int) -> str:
    """Return `x-00001-of-00003.gguf` for part 0 of 3 of `x.gguf`; `x.gguf` itself when it is the only one."""
    stem = name.removesuffix(".gguf")
    return name if count == 1 else f"{stem}-{number + 1:05}-of-{count:05}.gguf"


def output_paths(paths: Sequence[Path], layouts: Sequence[Sequence[PlannedPart]]) -> list[list[Path]]:
    """Return the files of each output, when `paths` are their names as one file."""
    return [
        [path.with_name(part_name(path.name, number, len(layout))) for number in range(len(layout))]
        for path, layout in zip(paths, layouts, strict=True)
    ]


def _runs(file: PlannedFile, limit_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield [first, stop) of each part's tensors. Headers count, each as large as if there were MAX_PARTS."""
    n_tensors = len(file.tensors)
    first, size = 0, len(_part(file, 0, MAX_PARTS, 0, 0).header)
    for index in range(n_tensors):
        own = aligned(file.tensor_bytes[index]) + _table_bytes(file.tensors[index])
        if index > first and size + own > limit_bytes:
            yield first, index
            first, size = index, len(_part(file, 1, MAX_PARTS, 0, 0).header)
        size += own
    yield first, n_tensors


def _part(file: PlannedFile, number: int, count: int, first: int, stop: int) -> PlannedPart:
    split: Metadata = {
        "split.no": Value(ValueType.UINT16, number),
        "split.count": Value(ValueType.UINT16, count),
        "split.tensors.count": Value(ValueType.INT32, len(file.tensors)),
    }
    infos: list[TensorInfo] = []
    offset = 0
    for info, size in zip(file.tensors[first:stop], file.tensor_bytes[first:stop], strict=True):
        infos.append(replace(info, offset=offset))
        offset += aligned(size)
    metadata = {**file.metadata, **split} if number == 0 else split
    return PlannedPart(metadata, tuple(infos), file.tensor_bytes[first:stop], file.first + first)


def _table_bytes(info: TensorInfo) -> int:
    """Return the bytes of the tensor's row in the header: its name, its shape, type and offset."""
    return 8 + len(info.name.encode()) + 4 + 8 * len(info.ne) + 12
