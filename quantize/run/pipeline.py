"""The pass that carries out a plan: threads that read, transform, encode and write blocks.

    source ──rows──▶ [ read · encode · write │ read · encode · write │ … ] ──▶ a file per type (or its parts)
                       a thread per core                                       a thread per file hashes it
                     saver: syncs what is whole, then notes it in the journal

Every tensor is read once, and every core is busy with it from reading to writing. Memory is a block per
thread (`quantize.run.memory_budget`), whatever the size of the model. Tensors that the journal knows are not
made again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from models.errors import QuantizationError
from models.llamacpp.quantization.quantizer import quantize_rows
from quantize.checkpoint.source import TensorSource
from quantize.control import JobControl, QuantizationProgress
from quantize.kernels.compiler import KernelCompiler
from quantize.moments.blas import one_blas_thread
from quantize.plan.plan import QuantizationPlan
from quantize.plan.split import output_paths, parts
from quantize.run.encode import Block, Encoder, QuantizeRows, blocks
from quantize.run.journal import Journal, Saver
from quantize.run.memory_budget import Bounds, bounds_for
from quantize.run.options import RunOptions
from quantize.run.writer import GGUFFileWriter, WrittenFile


def run(
    plan: QuantizationPlan,
    source: TensorSource,
    paths: Sequence[Path],
    options: RunOptions | None = None,
    *,
    journal: Journal | None = None,
    control: JobControl | None = None,
    kernels: KernelCompiler | None = None,
) -> tuple[WrittenFile, ...]:
    """Write the plan's outputs to `paths`, one each (named as parts where they are split).

    They are new; where the `journal` has tensors, they are those that an earlier run left. With `kernels`, a
    pass that is large enough has them compiled on the way; without, ggml encodes everything. Progress is
    reported on the calling thread. Raises QuantizationError (Cancelled, if the caller cancels it),
    CheckpointError, OSError; then the files stay behind, cut short, and the journal says what of them is
    whole.
    """
    options, control = options or RunOptions(), control or JobControl()
    bounds = bounds_for(plan, source, options.n_threads, options.memory_bytes)
    if options.threads is not None and options.threads < 1:
        raise QuantizationError(f"{options.threads} threads can't do anything; give 1 or more")
    with ExitStack() as stack:
        opened = _open_writers(plan, paths, options, journal)
        writers = [stack.enter_context(writer) for writer in opened]
        saver = stack.enter_context(Saver(writers, journal, options.save_every_s))
        pool = ThreadPoolExecutor(bounds.threads, thread_name_prefix="encode")
        # Entered last, so left first: no thread may still read, encode or write when files are closed.
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        if plan.calibration is not None:
            stack.enter_context(one_blas_thread())
        if bounds.compiled and kernels is not None:
            kernels.start()
        done = frozenset() if journal is None else frozenset(journal.done)
        thread = _Thread(quantize_rows if kernels is None else kernels.quantize_rows)
        work = _Pass(plan, source, writers, bounds, _order(plan, source, options), done, thread)
        for progress in _carry_out(work, pool, saver):
            if control.on_progress is not None:
                control.on_progress(progress)
            control.raise_if_cancelled("the quantization was cancelled; the same command goes on with it")
        return tuple(writer.finish() for writer in writers)


class _Thread(threading.local):
    """The state of each encoding thread: an encoder of its own, made when the thread first asks for it."""

    def __init__(self, quantize_rows: QuantizeRows) -> None:
        self.encoder = Encoder(quantize_rows)


@dataclass(frozen=True)
class _Pass:
    """All that a thread of the pass needs. `order`: the plan's tensors; `done`: those to leave out."""

    plan: QuantizationPlan
    source: TensorSource
    writers: Sequence[GGUFFileWriter]
    bounds: Bounds
    order: Sequence[int]
    done: frozenset[int]
    thread: _Thread

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks of all tensors that are to be made, in order."""
        plan = self.plan
        for index in self.order:
            if index in self.done:
                continue
            yield from blocks(
                plan.tensors[index],
                plan.types_of(index),
                self.bounds.block_elements,
                index=index,
                weights=plan.weights_for(index),
                calibration=plan.calibration_for(index),
            )

    def writers_of(self, index: int) -> list[GGUFFileWriter]:
        """Return the writers of the files that have the plan's tensor number `index`."""
        return [writer for writer in self.writers if writer.plan.has(index)]

    def make(self, block: Block) -> None:
        """Bring one block from the source into every file that has its tensor."""
        encoded = self.thread.encoder.encode(block, self.source)
        per_row = block.tensor.n_rows
        for writer, data in zip(self.writers_of(block.index), encoded, strict=True):
            offset = writer.plan.bytes_of(block.index) // per_row * block.start
            writer.write(block.index, offset, data)

    def expect(self) -> None:
        """Announce to the source the tensors that will be read, in order."""
        order = [index for index in self.order if index not in self.done]
        self.source.expect([name for index in order for name in self.plan.tensors[index].sources])


def _order(plan: QuantizationPlan, source: TensorSource, options: RunOptions) -> Sequence[int]:
    """Return the plan's tensors, by number, in the order in which they are made."""
    numbers = range(len(plan.tensors))
    if not options.stream:
        return numbers
    places = {name: place for place, name in enumerate(source.entries)}

    def place(number: int) -> int:
        return min((places.get(name, 0) for name in plan.tensors[number].sources), default=-1)

    return sorted(numbers, key=place)


def _open_writers(
    plan: QuantizationPlan, paths: Sequence[Path], options: RunOptions, journal: Journal | None
) -> Iterator[GGUFFileWriter]:
    done = journal.done if journal is not None and journal.done else None
    layouts = [parts(file, options.split_bytes) for file in plan.outputs]
    for file, files, layout in zip(plan.outputs, output_paths(paths, layouts), layouts, strict=True):
        yield GGUFFileWriter(file, files, layout=layout, done=done)


def _carry_out(work: _Pass, pool: ThreadPoolExecutor, saver: Saver) -> Iterator[QuantizationProgress]:
    """Submit all blocks, never many ahead; yield as each is done, and report whole tensors to writers and
    saver.
    """
    plan, n_done = work.plan, len(work.done)
    total = sum(tensor.n_source_bytes for tensor in plan.tensors)
    read = sum(plan.tensors[index].n_source_bytes for index in work.done)
    waiting: deque[tuple[Block, Future[None]]] = deque()
    steps = work.blocks()
    work.expect()
    while True:
        while len(waiting) < 2 * work.bounds.threads and (block := next(steps, None)) is not None:
            waiting.append((block, pool.submit(work.make, block)))
        if not waiting:
            return
        block, future = waiting.popleft()
        future.result()
        read += block.n_source_bytes
        if block.is_last:
            n_done += 1
            for writer in work.writers_of(block.index):
                writer.complete(block.index)
            saver.complete(block.index)
        written = {writer.plan.type: writer.n_bytes for writer in work.writers}
        yield QuantizationProgress(read, total, block.tensor.name, n_done, len(plan.tensors), written)
