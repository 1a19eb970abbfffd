"""Writing of a checkpoint as safetensors, streamed: shards, index, config.json and the small files.

It appears under its name at once, when it is whole: until then it is a hidden folder next to it.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from models.errors import DiskFull, QuantizationError
from models.store.atomic_write import disk_errors, fsync_file, fsync_folder
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.safetensors import DTYPES
from quantize.checkpoint.sentence_modules import dense_layers
from quantize.checkpoint.source import TensorEntry, TensorSource
from quantize.merge.chunks import row_ranges

SHARD_BYTES: Final = 5 * 10**9
"""A shard has at most this many bytes, as shards on the Hub have."""

_NAMES: Final[Mapping[np.dtype[Any], str]] = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class WrittenCheckpoint:
    """A checkpoint on disk. `files` are the names of its shards."""

    folder: Path
    files: tuple[str, ...]
    n_parameters: int
    size_bytes: int


def needed_bytes(source: TensorSource) -> int:
    """Return about how many bytes the weights take."""
    return sum(entry.n_bytes for entry in source.entries.values())


def write_checkpoint(
    checkpoint: Checkpoint,
    out: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    threads: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> WrittenCheckpoint:
    """Write it to the new folder `out`. `on_progress(bytes done, of all)` is called on this thread.

    Raises QuantizationError if `out` exists, DiskFull, StoreError, CheckpointError. Nothing is left then.
    """
    if out.exists():
        raise QuantizationError(f"{out} exists; remove it, or give another --out")
    dense = dense_layers(checkpoint.directory)
    if dense:
        raise QuantizationError(
            f"the merge has a layer in a folder of its own, {dense[0].folder}, and only one is written "
            "here; quantize the recipe itself"
        )
    total = needed_bytes(checkpoint.tensors)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    with disk_errors(f"write {out.name}", out.parent, "--out"):
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
        if total > free:
            raise DiskFull(f"{out.parent} has {free:,} bytes free and {total:,} are needed; free some")
        temporary.mkdir()
        try:
            names = _write_shards(checkpoint.tensors, temporary, shard_bytes, threads, on_progress)
            _copy_small_files(checkpoint.directory, temporary)
            fsync_folder(temporary)
            temporary.rename(out)
            fsync_folder(out.parent)
        except BaseException:  # Ctrl-C leaves no half checkpoint either
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    n_parameters = sum(entry.n_elements for entry in checkpoint.tensors.entries.values())
    size = sum((out / name).stat().st_size for name in names)
    return WrittenCheckpoint(out, tuple(names), n_parameters, size)


def shards(entries: Mapping[str, TensorEntry], shard_bytes: int) -> list[list[TensorEntry]]:
    """Return the tensors in their order, as many to a shard as fit; a larger one is alone."""
    parts: list[list[TensorEntry]] = [[]]
    size = 0
    for entry in entries.values():
        if parts[-1] and size + entry.n_bytes > shard_bytes:
            parts.append([])
            size = 0
        parts[-1].append(entry)
        size += entry.n_bytes
    return parts


def _write_shards(
    source: TensorSource,
    folder: Path,
    shard_bytes: int,
    threads: int,
    on_progress: Callable[[int, int], None] | None,
) -> list[str]:
    parts = shards(source.entries, shard_bytes)
    total, done = needed_bytes(source), 0
    names: list[str] = []
    weight_map: dict[str, str] = {}
    with ThreadPoolExecutor(threads, thread_name_prefix="merge") as pool:
        for number, part in enumerate(parts, start=1):
            name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
            name = "model.safetensors" if len(parts) == 1 else name
            with (folder / name).open("xb") as file:
                file.write(_header(part))
                for block in _blocks(source, part, pool, 2 * threads + 2):
                    _write(file, block)
                    done += block.nbytes
                    if on_progress is not None:
                        on_progress(done, total)
            fsync_file(folder / name)
            names.append(name)
            weight_map |= {entry.name: name for entry in part}
    if len(parts) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        _write_text(folder / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")
    return names


def _blocks(
    source: TensorSource, part: Sequence[TensorEntry], pool: ThreadPoolExecutor, window: int
) -> Iterator[np.ndarray[Any, Any]]:
    """Yield all rows in order, at most `window` blocks ahead. When closed early, no read goes on."""
    waiting: deque[Future[np.ndarray[Any, Any]]] = deque()
    try:
        for entry in part:
            for start, stop in row_ranges(entry):
                waiting.append(pool.submit(source.rows, entry.name, start, stop))
                if len(waiting) >= window:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _header(part: Sequence[TensorEntry]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for entry in part:
        header[entry.name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [offset, offset + entry.n_bytes],
        }
        offset += entry.n_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _write(file: BinaryIO, block: np.ndarray[Any, Any]) -> None:
    file.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    fsync_file(path)


def _copy_small_files(source: Path, target: Path) -> None:
    """Copy all files of a composed checkpoint's folder, which has no weights."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(path.read_bytes())
            fsync_file(place)
