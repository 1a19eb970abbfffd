"""Carrying out a plan: threads that read, transform, encode and write blocks, each at its place.

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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from models.errors import QuantizationError
from models.machine.hardware import available_cores
from quantize.architectures.registry import architecture_of
from quantize.architectures.requantize import GGUFModel, NoVocabulary
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.source import TensorSource
from quantize.gguf.general_metadata import general_metadata
from quantize.gguf.header import Metadata
from quantize.gguf.parameter_count import ParameterCount
from quantize.kernels.compiled import preparation
from quantize.plan.plan import QuantizationPlan, TypeChoice, build
from quantize.plan.split import output_paths, parts
from quantize.run.encode import Block, Encoder, blocks
from quantize.run.journal import Journal
from quantize.run.memory_budget import Bounds, bounds_for
from quantize.run.saver import Saver
from quantize.run.writer import GGUFFileWriter, WrittenFile
from quantize.vocabulary.read import read_vocabulary


@dataclass(frozen=True)
class QuantizationProgress:
    """How far it is. `source_bytes_read` of `source_bytes`; `written_bytes` per type, in the plan's order."""

    source_bytes_read: int
    source_bytes: int
    tensor: str
    tensors_done: int
    tensors: int
    written_bytes: dict[str, int]


class Cancelled(QuantizationError):
    """The pass was asked to stop."""


OnProgress = Callable[[QuantizationProgress], None]


@dataclass(frozen=True)
class QuantizationResult:
    """What one pass has written."""

    plan: QuantizationPlan
    files: tuple[WrittenFile, ...]


@dataclass(frozen=True)
class Work:
    """How a plan is carried out, beside what it makes.

    `threads`: None for one per core. `memory_bytes`: the most that may be in use
    (`quantize.run.memory_budget`).
    `split_bytes`: outputs larger than that are written in parts. `journal`: what was done before, and where
    to note what is. `in_source_order`: tensors are made in the order of the source, as a stream wants it,
    rather than that of the outputs. Setting `cancel` from any thread ends it with QuantizationError.
    """

    threads: int | None = None
    memory_bytes: int | None = None
    split_bytes: int | None = None
    journal: Journal | None = None
    in_source_order: bool = False
    cancel: threading.Event | None = None


def make_plan(
    checkpoint: Checkpoint,
    types: Sequence[str],
    *,
    name: str | None = None,
    extra: Metadata | None = None,
    choice: TypeChoice | None = None,
) -> QuantizationPlan:
    """Plan a pass over an open checkpoint: its architecture and vocabulary are found, or refused by name.

    `name` (`org/name`) goes into the files; `extra` metadata is laid over the rest; `choice`: what types go
    by, beside llama.cpp's rules. Raises CheckpointError, QuantizationError.
    """
    if choice is not None and choice.imatrix is not None:
        extra = (extra or {}) | choice.imatrix.metadata()
    if checkpoint.gguf is not None:
        return build(checkpoint, GGUFModel(checkpoint.gguf, extra), NoVocabulary(), types, choice=choice)
    architecture = architecture_of(checkpoint.config)
    vocabulary = read_vocabulary(
        checkpoint.directory, checkpoint.config, architecture.vocabulary_size, architecture.added_token_rules
    )

    def general(parameters: ParameterCount) -> Metadata:
        return general_metadata(checkpoint.directory, checkpoint.config, name, parameters) | (extra or {})

    return build(checkpoint, architecture, vocabulary, types, general=general, choice=choice)


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
        work = Work(threads=threads, cancel=cancel)
        return run(plan, checkpoint.tensors, paths, work, on_progress=on_progress)


def run(
    plan: QuantizationPlan,
    source: TensorSource,
    paths: Sequence[Path],
    work: Work | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> QuantizationResult:
    """Write the plan's files to `paths`, one per type (named as parts where they are split).

    They are new; where the journal has tensors, they are those that an earlier run left. `on_progress` runs
    on the calling thread. Raises QuantizationError, CheckpointError, OSError; then the files stay behind, cut
    short, and the journal says what of them is whole.
    """
    work = work or Work()
    bounds = bounds_for(plan, source, work.threads or available_cores(), work.memory_bytes)
    if work.threads is not None and work.threads < 1:
        raise QuantizationError(f"{work.threads} threads can't do anything; give 1 or more")
    with ExitStack() as stack:
        writers = [stack.enter_context(writer) for writer in _open_writers(plan, paths, work)]
        saver = stack.enter_context(Saver(writers, work.journal))
        pool = ThreadPoolExecutor(bounds.threads, thread_name_prefix="encode")
        # Entered last, so left first: no thread may still read, encode or write when files are closed.
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        for progress in _carry_out(_Run(plan, source, writers, work, bounds), pool, saver):
            if on_progress is not None:
                on_progress(progress)
            if work.cancel is not None and work.cancel.is_set():
                raise Cancelled("the quantization was cancelled; the same command goes on with it")
        return QuantizationResult(plan, tuple(writer.finish() for writer in writers))


@dataclass(frozen=True)
class _Run:
    """What a thread needs."""

    plan: QuantizationPlan
    source: TensorSource
    writers: Sequence[GGUFFileWriter]
    work: Work
    bounds: Bounds

    @property
    def done(self) -> set[int]:
        return set() if self.work.journal is None else set(self.work.journal.done)

    def order(self) -> Sequence[int]:
        """The plan's tensors in the order in which they are made."""
        numbers = range(len(self.plan.tensors))
        if not self.work.in_source_order:
            return numbers
        places = {name: place for place, name in enumerate(self.source.entries)}

        def place(number: int) -> int:
            return min((places.get(name, 0) for name in self.plan.tensors[number].sources), default=-1)

        return sorted(numbers, key=place)


def _open_writers(plan: QuantizationPlan, paths: Sequence[Path], work: Work) -> Iterator[GGUFFileWriter]:
    done = work.journal.done if work.journal is not None and work.journal.done else None
    layouts = [parts(file, work.split_bytes) for file in plan.files]
    for file, files, layout in zip(plan.files, output_paths(paths, layouts), layouts, strict=True):
        yield GGUFFileWriter(file, files, layout=layout, done=done)


def _plan_blocks(run: _Run, done: set[int]) -> Iterator[Block]:
    plan = run.plan
    for index in run.order():
        if index in done:
            continue
        tensor = plan.tensors[index]
        kinds = [file.tensors[index].ggml_type for file in plan.files]
        imatrix = plan.imatrix
        weights = None if imatrix is None else imatrix.weights_for(tensor.name, tensor.ne)
        yield from blocks(tensor, kinds, run.bounds.block_elements, index=index, weights=weights)


def _carry_out(run: _Run, pool: ThreadPoolExecutor, saver: Saver) -> Iterator[QuantizationProgress]:
    """Submit all blocks, never many ahead; yields as each is done, and tells writers and saver of tensors."""
    plan, done = run.plan, run.done
    total = sum(tensor.n_source_bytes for tensor in plan.tensors)
    read = sum(plan.tensors[index].n_source_bytes for index in done)
    n_done = len(done)
    local = threading.local()
    waiting: deque[tuple[Block, Future[None]]] = deque()
    steps = _plan_blocks(run, done)

    def make(block: Block) -> None:
        encoder: Encoder | None = getattr(local, "encoder", None)
        if encoder is None:
            encoder = local.encoder = Encoder()
        _make(run, block, encoder)

    _announce(run, done)
    if run.bounds.compiled:
        preparation.start()
    while True:
        while len(waiting) < 2 * run.bounds.threads and (block := next(steps, None)) is not None:
            waiting.append((block, pool.submit(make, block)))
        if not waiting:
            return
        block, future = waiting.popleft()
        future.result()
        read += block.n_source_bytes
        if block.is_last:
            n_done += 1
            for writer in run.writers:
                writer.complete(block.index)
            saver.complete(block.index)
        written = {writer.plan.type: writer.n_bytes for writer in run.writers}
        yield QuantizationProgress(read, total, block.tensor.name, n_done, len(plan.tensors), written)


def _announce(run: _Run, done: set[int]) -> None:
    """Announce to the source the tensors that will be read, in order."""
    order = [index for index in run.order() if index not in done]
    run.source.expect([name for index in order for name in run.plan.tensors[index].sources])


def _make(run: _Run, block: Block, encoder: Encoder) -> None:
    """One block, from the source into every file."""
    encoded = encoder.encode(block, run.source)
    per_row = block.tensor.n_rows
    for writer, data in zip(run.writers, encoded, strict=True):
        offset = writer.plan.tensor_bytes[block.index] // per_row * block.start
        writer.write(block.index, offset, data)
