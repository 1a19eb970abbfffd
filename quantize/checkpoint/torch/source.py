"""torch's own files as a TensorSource: one file, or several shards.

Tensors are views of storages: with an offset, in any order of axes, several of one storage. Rows are read
through the strides, so that a transposed matrix is read in pieces and not whole for each block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.file_bytes import ByteSource
from quantize.checkpoint.shards import ShardedSource
from quantize.checkpoint.source import Rows, TensorEntry
from quantize.checkpoint.torch.file import PlacedTensor, read_torch_file

META_TENSOR: Final = "tok_embeddings.weight"
_WASTE: Final = 4
"""A view is read in one piece while that holds at most this many times the bytes needed, else in several."""
_PAGE_BYTES: Final = 4096


class TorchSource(ShardedSource[PlacedTensor]):
    """One or several torch files, of which the pickles are read at once."""

    def rows(self, name: str, start: int, stop: int) -> Rows:
        shape = self._entries[name].shape
        if not shape:
            return self._read(name, (slice(None),)).reshape(1)
        assert 0 <= start <= stop <= shape[0], f"rows {start}..{stop} of {shape[0]}"
        return self._read(name, (slice(start, stop),))

    def columns(self, name: str, start: int, stop: int) -> Rows:
        """Return columns [start, stop) of a matrix: `[shape[0], stop - start]`, read through the strides."""
        n_columns = self._entries[name].shape[1]
        assert 0 <= start <= stop <= n_columns, f"columns {start}..{stop} of {n_columns}"
        return self._read(name, (slice(None), slice(start, stop)))

    def _read_header(self, file: ByteSource) -> Iterator[tuple[TensorEntry, PlacedTensor]]:
        for name, placed in read_torch_file(file).items():
            yield TensorEntry(name, placed.tensor.shape, placed.tensor.storage.dtype), placed

    def _read(self, name: str, part: tuple[slice, ...]) -> Rows:
        """Return the part of a tensor that slices of its first axes cut out, in C order."""
        file, placed = self._places[name]
        tensor = placed.tensor
        itemsize = tensor.storage.dtype.itemsize
        shape, first = list(tensor.shape), tensor.offset
        for axis, cut in enumerate(part[: len(shape)]):
            start, stop, _ = cut.indices(shape[axis])
            first += start * tensor.strides[axis]
            shape[axis] = stop - start
        out = np.empty(shape, tensor.storage.dtype)
        if out.size:
            # Axes from the widest stride to the narrowest: as the storage has them.
            order = sorted(range(len(shape)), key=lambda axis: -tensor.strides[axis])
            strides = tuple(tensor.strides[axis] * itemsize for axis in order)
            _fill(file, placed.storage_offset + first * itemsize, out.transpose(order), strides)
        return out


def open_torch_files(paths: Sequence[Path], weight_map: Mapping[str, str] | None = None) -> TorchSource:
    """Open a checkpoint's torch files. Raises CheckpointError: also for Meta's own files and names."""
    if len(paths) > 1 and any(path.name.startswith("consolidated") for path in paths):
        raise CheckpointError(
            f"{paths[0].name} and {len(paths) - 1} more are Meta's own files, each a slice of every tensor; "
            "choose the repository that transformers loads (often the same name with -hf)"
        )
    source = TorchSource(paths, weight_map=weight_map)
    if META_TENSOR in source.entries:
        source.close()
        raise CheckpointError(
            f"{paths[0].name} has Meta's own tensor names, in its own order of heads; "
            "choose the repository that transformers loads (often the same name with -hf)"
        )
    return source


def _fill(file: ByteSource, offset: int, out: npt.NDArray[Any], strides: tuple[int, ...]) -> None:
    """Read the view at `offset` with `strides` (bytes, from wide to narrow) into `out`, of the same axes."""
    itemsize = out.dtype.itemsize
    span = itemsize + sum((size - 1) * stride for size, stride in zip(out.shape, strides, strict=True))
    if span <= max(_WASTE * out.nbytes, _PAGE_BYTES) or out.ndim == 0:
        if out.flags.c_contiguous and span == out.nbytes and _is_packed(out, strides):
            file.read_into(offset, out.reshape(-1).view(np.uint8).data)
        else:
            raw = file.read_array(offset, (span,), np.dtype(np.uint8))
            out[...] = np.ndarray(out.shape, out.dtype, raw.data, strides=strides)
        return
    for i in range(out.shape[0]):
        _fill(file, offset + i * strides[0], out[i], strides[1:])


def _is_packed(out: npt.NDArray[Any], strides: tuple[int, ...]) -> bool:
    """True if the storage has the elements one after the other, as `out` does."""
    return all(
        size == 1 or mine == theirs
        for size, mine, theirs in zip(out.shape, out.strides, strides, strict=True)
    )
