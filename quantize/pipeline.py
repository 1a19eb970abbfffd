"""Carrying out a plan: a pool of threads reads and encodes blocks, the calling thread writes them in order.

    source ──rows──▶ [ encode │ encode │ … ] ──bytes, in order──▶ one writer per type
                      at most `2 · threads + 2` blocks in flight

Every tensor is read once. Memory is the blocks in flight, whatever the size of the model: `memory_bytes`
says how much.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from models.errors import QuantizationError
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.source import TensorSource
from quantize.encode import Block, Encoded, blocks, encode
from quantize.general_metadata import general_metadata
from quantize.gguf_header import Metadata
from quantize.plan import QuantizationPlan, build
from quantize.vocabulary.read import read_vocabulary
from quantize.writer import GGUFFileWriter, WrittenFile


@dataclass(frozen=True)
class QuantizationProgress:
    """How far it is. `source_bytes_read` of `source_bytes`; `written_bytes` per type, in the plan's order."""

    source_bytes_read: int
    source_bytes: int
    tensor: str
    tensors_done: int
    tensors: int
    written_bytes: dict[str, int]


OnProgress = Callable[[QuantizationProgress], None]


@dataclass(frozen=True)
class QuantizationResult:
    """What one pass has written."""

    plan: QuantizationPlan
    files: tuple[WrittenFile, ...]


def make_plan(
    checkpoint: Checkpoint, types: Sequence[str], *, name: str | None = None, extra: Metadata | None = None
) -> QuantizationPlan:
    """Plan a pass over an open checkpoint: its architecture and vocabulary are found, or refused by name.

    `name` (`org/name`) goes into the files; `extra` metadata is laid over the rest. Raises CheckpointError,
    QuantizationError.
    """
    architecture = architecture_of(checkpoint.config)
    vocabulary = read_vocabulary(checkpoint.directory, checkpoint.config, architecture.vocabulary_size)

    def general(n_parameters: int) -> Metadata:
        return general_metadata(checkpoint.directory, checkpoint.config, name, n_parameters) | (extra or {})

    return build(checkpoint, architecture, vocabulary, types, general=general)


def quantize(
    source: Path,
    types: Sequence[str],
    out_dir: Path,
    *,
    name: str | None = None,
    file_name: Callable[[str], str] | None = None,
    on_progress: OnProgress | None = None,
    threads: int | None = None,
    cancel: threading.Event | None = None,
) -> QuantizationResult:
    """Quantize the checkpoint folder `source` to all `types` in one pass, into `out_dir`.

    `file_name` maps a type to a file name, by default `<folder>.<TYPE>.gguf`; existing files are not
    overwritten. Raises CheckpointError, QuantizationError (also when cancelled), OSError from writing.
    """
    with Checkpoint.open(source) as checkpoint:
        plan = make_plan(checkpoint, types, name=name)
        stem = (name or source.name).rsplit("/", 1)[-1]
        paths = [
            out_dir / (file_name(file.type) if file_name else f"{stem}.{file.type}.gguf")
            for file in plan.files
        ]
        return run(plan, checkpoint.tensors, paths, on_progress=on_progress, threads=threads, cancel=cancel)


def run(
    plan: QuantizationPlan,
    source: TensorSource,
    paths: Sequence[Path],
    *,
    on_progress: OnProgress | None = None,
    threads: int | None = None,
    cancel: threading.Event | None = None,
) -> QuantizationResult:
    """Write the plan's files to `paths` (new files, one per type). `on_progress` runs on the calling thread.

    `threads`: None for one per core. Setting `cancel` from any thread ends it with QuantizationError. On any
    error the files stay behind, cut short.
    """
    n_threads = threads if threads is not None else available_cores()
    if n_threads < 1:
        raise QuantizationError(f"{n_threads} threads can't do anything; give 1 or more")
    with ExitStack() as stack:
        writers = [
            stack.enter_context(GGUFFileWriter(file, path))
            for file, path in zip(plan.files, paths, strict=True)
        ]
        pool = ThreadPoolExecutor(n_threads, thread_name_prefix="encode")
        # Entered last, so left first: no thread may still read or encode when files are closed.
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        read, done = 0, 0
        for block, encoded in _encoded_blocks(plan, source, pool, blocks_in_flight(n_threads)):
            if cancel is not None and cancel.is_set():
                raise QuantizationError(
                    "the quantization was cancelled; nothing was kept, run it again to repeat it"
                )
            for writer, data in zip(writers, encoded, strict=True):
                writer.write(data)
            read += block.n_source_bytes
            done += block.is_last
            if on_progress is not None:
                written = {writer.plan.type: writer.n_bytes for writer in writers}
                n_tensors = len(plan.tensors)
                on_progress(
                    QuantizationProgress(read, plan.source_bytes, block.tensor.name, done, n_tensors, written)
                )
        return QuantizationResult(plan, tuple(writer.finish() for writer in writers))


def blocks_in_flight(threads: int) -> int:
    """Enough that no thread waits for the writer, which takes them in order."""
    return 2 * threads + 2


def available_cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _plan_blocks(plan: QuantizationPlan) -> Iterator[Block]:
    for i, tensor in enumerate(plan.tensors):
        yield from blocks(tensor, [file.tensors[i].ggml_type for file in plan.files])


def _encoded_blocks(
    plan: QuantizationPlan, source: TensorSource, pool: ThreadPoolExecutor, window: int
) -> Iterator[tuple[Block, list[Encoded]]]:
    """Blocks in order, each with its bytes; never more than `window` between reading and the caller."""
    waiting: deque[tuple[Block, Future[list[Encoded]]]] = deque()
    for block in _plan_blocks(plan):
        waiting.append((block, pool.submit(encode, block, source)))
        if len(waiting) >= window:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()
