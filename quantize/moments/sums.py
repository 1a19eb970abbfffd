"""`InputSum`: the sum of x xᵀ over an input's rows so far; `PassSums`: those of a pass over a text.

Only the upper triangle is summed, in f32: a product of 512 columns with 512 columns at a time, each by one
thread and added in the text's order, so that the number of threads changes no bit. A sum of k products errs
by some 1e-7 · √k of its size: 2e-6 over 200,000 rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import QuantizationError
from models.llamacpp.eval_callback import Activations
from quantize.control import Cancelled
from quantize.moments.inputs import Input
from quantize.moments.moments import HELD_OUT_ROWS, HELD_OUT_ROWS_OF_EXPERT, Floats, InputName
from quantize.moments.sampling import Sampling, spaced

BLOCK: Final = 512
"""A tile of the triangle has so many rows and columns: its product stays in a core's cache."""

Task = Callable[[], None]


class InputSum:
    """One input's sums. `next`: the window, and the product within it, that come next for this input.

    `first` [k, n] and `held_out` [m, n] f32 are rows that are kept, so far `n_first` and `n_held_out`.
    """

    def __init__(self, width: int, n_first: int, n_held_out: int) -> None:
        self.width = width
        self.blocks = [np.zeros((stop - start, width - start), np.float32) for start, stop in _ranges(width)]
        """Block i: rows from 512 · i on, of each the columns from there on."""
        self.first = np.zeros((n_first, width), np.float32)
        self.held_out = np.zeros((n_held_out, width), np.float32)
        self.n_rows = self.n_first = self.n_held_out = 0
        self.next = (0, 0)

    def arrays(self) -> list[Floats]:
        """Return all that it holds, in a fixed order; none is empty."""
        return [array for array in (*self.blocks, self.first, self.held_out) if array.size]

    def adding(self, rows: Floats) -> list[Task]:
        """Return what adds `rows` to the sum: tasks that may run at the same time. All must run."""
        self.n_rows += len(rows)
        tasks: list[Task] = []
        for block, (start, stop) in zip(self.blocks, _ranges(self.width), strict=True):
            tasks += [
                _product(rows[:, start:stop], rows[:, left:right], block[:, left - start : right - start])
                for left, right in _ranges(self.width, start)
            ]
        return tasks

    def keep_first(self, row: Floats) -> None:
        """Keep the row of a window's first token, as long as there is room."""
        if self.n_first < len(self.first):
            self.first[self.n_first] = row
            self.n_first += 1

    def keep_held_out(self, rows: Floats, n_kept: int) -> None:
        """Keep `n_kept` of the rows, as far as there is room."""
        kept = rows[spaced(len(rows), n_kept)][: len(self.held_out) - self.n_held_out]
        self.held_out[self.n_held_out : self.n_held_out + len(kept)] = kept
        self.n_held_out += len(kept)

    def variance(self) -> Floats:
        """Return the columns' mean squares [n] f32; all 0 if no row came."""
        return (self._diagonal() / max(self.n_rows, 1)).astype(np.float32)

    def correlations(self) -> Iterator[npt.NDArray[np.float16]]:
        """Yield the correlations above the diagonal, row after row, block by block."""
        diagonal = self._diagonal()
        scales = np.divide(1.0, np.sqrt(diagonal), out=np.zeros_like(diagonal), where=diagonal > 0)
        inverse = scales.astype(np.float32)
        for block, (start, stop) in zip(self.blocks, _ranges(self.width), strict=True):
            scaled = block * inverse[start:stop, None]
            scaled *= inverse[None, start:]
            halves = np.clip(scaled, -1.0, 1.0, out=scaled).astype(np.float16)
            yield np.concatenate([row[i + 1 :] for i, row in enumerate(halves)])

    def _diagonal(self) -> npt.NDArray[np.float64]:
        return np.concatenate([np.diagonal(block) for block in self.blocks]).astype(np.float64)


def n_held_out_rows(one: Input, sampling: Sampling) -> int:
    """Return how many rows of held-out windows are kept of one of the input's matrices."""
    most = HELD_OUT_ROWS if one.n_matrices == 1 else HELD_OUT_ROWS_OF_EXPERT
    return most if sampling.n_held_out else 0


def n_first_rows(one: Input, sampling: Sampling) -> int:
    """Return how many windows' first rows are kept: of experts none, as any token may be their first."""
    return 0 if one.routed else sampling.n_first


def sum_bytes(one: Input, sampling: Sampling) -> int:
    """Return the bytes that an `InputSum` of one of the input's matrices takes."""
    triangle = sum((stop - start) * (one.width - start) for start, stop in _ranges(one.width))
    kept = (n_first_rows(one, sampling) + n_held_out_rows(one, sampling)) * one.width
    return 4 * (triangle + kept)


class PassSums:
    """The sums of one pass over a text. `add` is an observer's `on_activations`; one thread calls it.

    Whoever runs windows calls `begin` before each. An input takes no window twice, so that a pass may begin
    again where the first of its inputs stopped.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        sums: Mapping[InputName, InputSum],
        sampling: Sampling,
        pool: Executor,
        cancel: threading.Event,
    ) -> None:
        """Add to `sums`, which has some or all matrices of the `inputs`; other rows are left alone."""
        self._inputs = {one.name: one for one in inputs}
        self._sums: dict[str, list[tuple[int, InputSum]]] = {}
        for name, one in sums.items():
            self._sums.setdefault(name.weight, []).append((name.matrix, one))
        self._sampling = sampling
        self._pool = pool
        self._cancel = cancel
        self._window = 0
        self._products: dict[str, int] = {}

    def begin(self, window: int) -> None:
        """The rows from now on are those of the window with this number."""
        self._window = window
        self._products.clear()

    def close(self) -> None:
        """Let go of the sums: C may hold on to whoever calls `add`."""
        self._sums.clear()

    def add(self, seen: Activations) -> None:
        """Add the rows of one product, or keep some if the window is held out.

        Raises Cancelled, with every sum whole; QuantizationError if the rows aren't finite.
        """
        if self._cancel.is_set():
            raise Cancelled("the sums were interrupted")
        name = seen.weight.name
        product = self._products.get(name, 0)
        self._products[name] = product + 1
        place = self._window, product
        waiting = [(matrix, one) for matrix, one in self._sums.get(name, ()) if one.next <= place]
        if waiting and not np.isfinite(seen.rows).all():
            raise QuantizationError(
                f"the activations of {name} aren't finite; the model is broken, or its type is too small"
            )
        tasks: list[Task] = []
        for matrix, one in waiting:
            rows = seen.rows if seen.n_matrices == 1 else seen.rows[seen.matrix == matrix]
            if len(rows):
                tasks += self._tasks(one, rows, self._inputs[name], product)
        self._run(tasks)
        for _matrix, one in waiting:
            one.next = (place[0], place[1] + 1)

    def _tasks(self, one: InputSum, rows: Floats, of: Input, product: int) -> list[Task]:
        """Return the tasks that add the rows of one matrix; a held-out window's rows are kept at once."""
        sampling, window = self._sampling, self._window
        if sampling.is_held_out(window):
            n_products = len(of.places) * sampling.graphs
            one.keep_held_out(rows, sampling.n_kept(window, product, n_products, len(one.held_out)))
            return []
        if product == 0 and not of.routed and sampling.keeps_first(window):
            one.keep_first(rows[0])
        return one.adding(rows)

    def _run(self, tasks: Sequence[Task]) -> None:
        if len(tasks) < 2:
            for task in tasks:
                task()
            return
        for _ in self._pool.map(lambda task: task(), tasks):
            pass


def _product(left: Floats, right: Floats, target: Floats) -> Task:
    """Return a task that adds the product of columns with columns to a tile of a sum."""

    def add() -> None:
        np.add(target, left.T @ right, out=target)

    return add


def _ranges(width: int, start: int = 0) -> list[tuple[int, int]]:
    return [(first, min(first + BLOCK, width)) for first in range(start, width, BLOCK)]
