"""`collect_moments`: a text runs through a 16-bit model, and its second moments go into a file.

As many inputs of weights are summed at a time as fit the memory, in the order of the model's graph: one pass
over the text for each such group, which ends each graph behind its last input.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.errors import ConfigError, DiskFull
from models.gguf.info import read_gguf_info
from models.llamacpp.eval_callback import MatmulObserver
from models.llamacpp.model import Model
from models.machine.host_memory import memory
from quantize.control import Cancelled, OnCount
from quantize.evaluate.windows import N_UBATCH, TextPlan, WindowRunner, Windows, cut_windows
from quantize.moments.blas import one_blas_thread
from quantize.moments.draft import MomentDraft, new_sum
from quantize.moments.inputs import Input, SingleWindows, find_inputs, first_of_layers, last_product
from quantize.moments.layout import Layout, MomentInfo
from quantize.moments.model_hash import model_hash
from quantize.moments.moments import InputName
from quantize.moments.sampling import HELD_OUT_EVERY
from quantize.moments.sums import BLOCK, InputSum, PassSums, sum_bytes

_LEAST_TOKENS: Final = 32
"""A window has at least so many: few rows at a time make a poor product of matrices, and 15 none."""
_KEEP_SHARE: Final = 20.0
"""At most one part in so many of the time goes into keeping the sums in work on the disk."""


@dataclass(frozen=True)
class MomentControl:
    """The caller's side of a collection. Callbacks run on the thread that called it, and may raise."""

    on_resume: OnCount | None = None
    """The callback takes how many inputs an earlier run had done, and how many there are."""
    on_chunks: OnCount | None = None
    """The callback takes the chunks that are done, counted once for each pass, and all."""
    keep_every_s: float = 180.0
    """The sums in work are kept on the disk this often, in seconds, or less often if that takes long."""
    cancel: threading.Event = field(default_factory=threading.Event)
    """Setting the event, from any thread, ends the collection with Cancelled at the next input; what is
    summed by then is kept, and the same call goes on with it.
    """


@dataclass(frozen=True)
class MomentMeans:
    """The means of a collection. `memory_bytes`: for the sums; None: half of what is free."""

    threads: int = 1
    gpu_layers: int = 0
    memory_bytes: int | None = None


def collect_moments(
    model_path: Path,
    plan: TextPlan,
    target: Path,
    *,
    label: str,
    means: MomentMeans = MomentMeans(),
    control: MomentControl = MomentControl(),
) -> MomentInfo:
    """Write the moments of the GGUF model over the plan's text, called `label`, to `target`. Blocks.

    The model should be of 16 bits, or its own errors count. A run that ended early is gone on with; the
    target appears when it is whole. Its bytes depend neither on threads nor on memory. Raises ConfigError:
    too little text, too little memory; QuantizationError: activations that aren't finite; Cancelled;
    InvalidGGUF; DiskFull, StoreError; LlamaCppError.
    """
    if plan.n_ctx < _LEAST_TOKENS:
        raise ConfigError(
            f"chunks of {plan.n_ctx} tokens are too short; give a --ctx of {_LEAST_TOKENS} or more"
        )
    budget = means.memory_bytes if means.memory_bytes is not None else memory().available_bytes // 2
    info = read_gguf_info(model_path)
    with (
        one_blas_thread(),
        Model.load(model_path, n_gpu_layers=means.gpu_layers) as model,
        ThreadPoolExecutor(means.threads, "moments") as pool,
    ):
        windows = SingleWindows(**vars(cut_windows(model, plan)))
        inputs = find_inputs(model, windows, means.threads)
        origin = MomentInfo(
            label=label,
            text_sha256=hashlib.sha256(plan.text.encode()).hexdigest(),
            chunks=len(windows),
            held_out_chunks=len(windows) // HELD_OUT_EVERY,
            chunk_size=windows.n_ctx,
            model=model_path.name,
            model_hash=model_hash(info),
        )
        layout = Layout(origin, inputs)
        room = budget - working_bytes(inputs, means.threads)
        check_memory(layout, room, budget)
        with MomentDraft(target, layout) as draft:
            collector = _Collector(model, windows, layout, draft, pool, means.threads, control)
            collector.run(room)
            draft.finish()
    return origin


def working_bytes(inputs: Sequence[Input], threads: int) -> int:
    """Return the bytes that adding up takes beside the sums: rows, twice, a product per thread, a block's
    correlations in two types.
    """
    widest = max(one.width for one in inputs)
    return 4 * (2 * N_UBATCH * widest + threads * BLOCK * BLOCK + 2 * BLOCK * widest)


def check_memory(layout: Layout, room: int, budget: int) -> None:
    """Raise ConfigError if the largest input's sums don't fit `room` bytes, `budget` less what work takes."""
    largest = max(layout.inputs, key=lambda one: one.width)
    needed = sum_bytes(largest, layout.sampling)
    if needed > room:
        least = needed + budget - room
        raise ConfigError(
            f"the sums of {largest.name}, {largest.width} wide, take {least:,} bytes of memory, and "
            f"{budget:,} are allowed; give --memory {-(-least // 2**20)}MiB or more"
        )


def group_inputs(
    units: Sequence[tuple[InputName, int]], room: int, first: Sequence[InputName] = ()
) -> list[list[InputName]]:
    """Return the inputs, given with the bytes of their sums, in groups that fit `room`, in their order.

    `first` is a group of its own, before all others, if all of it is among the inputs and fits.
    """
    sizes = dict(units)
    groups: list[list[InputName]] = []
    if first and all(name in sizes for name in first) and sum(sizes[name] for name in first) <= room:
        groups.append(list(first))
    taken, left = set(groups[0]) if groups else set(), 0
    for name, size in units:
        if name in taken:
            continue
        if size > left:
            groups.append([])
            left = room
        groups[-1].append(name)
        left -= size
    return groups


class _Collector:
    """The passes over a text."""

    def __init__(
        self,
        model: Model,
        windows: Windows,
        layout: Layout,
        draft: MomentDraft,
        pool: Executor,
        threads: int,
        control: MomentControl,
    ) -> None:
        self._model, self._windows, self._layout = model, windows, layout
        self._draft, self._pool, self._threads, self._control = draft, pool, threads, control
        self._n_done = self._n_all = 0

    def run(self, room: int) -> None:
        """Sum what the draft hasn't got, in groups that fit `room` bytes."""
        units = [
            (name, sum_bytes(one, self._layout.sampling))
            for one in self._layout.inputs
            for name in one.units()
        ]
        done = self._draft.done
        left = [unit for unit in units if unit[0] not in done]
        kept = self._draft.kept_names()
        if (done or kept) and self._control.on_resume is not None:
            self._control.on_resume(len(done), len(units))
        groups = group_inputs(left, room, kept)
        self._n_all = len(groups) * len(self._windows)
        for group in groups:
            sums = self._draft.restore() if set(group) == set(kept) else {}
            by_name = {one.name: one for one in self._layout.inputs}
            sums = sums or {name: new_sum(by_name[name.weight], self._layout) for name in group}
            self._pass([by_name[name] for name in dict.fromkeys(unit.weight for unit in group)], sums)
            self._draft.write(sums)

    def _pass(self, inputs: Sequence[Input], sums: Mapping[InputName, InputSum]) -> None:
        """Run the text, from where the first of the sums stopped."""
        names = {one.name for one in inputs} | first_of_layers(self._layout.inputs)
        adder = PassSums(inputs, sums, self._layout.sampling, self._pool, self._control.cancel)
        observer = MatmulObserver(names.__contains__, adder.add, min_rows=1, stop_after=last_product(inputs))
        runner = WindowRunner(self._model, self._windows, threads=self._threads, observer=observer)
        begin = min(one.next[0] for one in sums.values())
        self._n_done += begin
        keeper = _Keeper(lambda: self._draft.keep(sums), self._control.keep_every_s)
        try:
            for window in range(begin, len(self._windows)):
                adder.begin(window)
                runner.run(range(window, window + 1))
                for one in sums.values():
                    one.next = max(one.next, (window + 1, 0))
                self._n_done += 1
                if self._control.on_chunks is not None:
                    self._control.on_chunks(self._n_done, self._n_all)
                keeper.keep_if_due()
        except Cancelled:
            self._draft.keep(sums)
            raise
        finally:
            runner.close()
            adder.close()


class _Keeper:
    """Keeps sums now and then. Where the disk is too full for it the work goes on without."""

    def __init__(self, keep: Callable[[], None], every_s: float) -> None:
        self._keep = keep
        self._every_s = every_s
        self._due = time.monotonic() + every_s

    def keep_if_due(self) -> None:
        began = time.monotonic()
        if began < self._due:
            return
        with suppress(DiskFull):
            self._keep()
        ended = time.monotonic()
        self._due = ended + max(self._every_s, _KEEP_SHARE * (ended - began))
