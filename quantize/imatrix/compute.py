"""The computation of an importance matrix: a text runs through the 16-bit model, squares are summed."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import QuantizationError
from models.llamacpp.eval_callback import Activations, MatmulObserver
from models.llamacpp.model import Model
from quantize.control import Cancelled, OnCount
from quantize.evaluate.windows import TextPlan, WindowRunner, cut_windows
from quantize.imatrix.matrix import Importance, ImportanceMatrix

_ROWS_AT_ONCE = 256


class Sums:
    """The sums over each weight's activations so far, in f64. `add` is an observer's `on_activations`."""

    def __init__(self) -> None:
        self._sums: dict[str, npt.NDArray[np.float64]] = {}
        self._counts: dict[str, npt.NDArray[np.int64]] = {}

    def add(self, seen: Activations) -> None:
        """Add the activations of one product. Raises QuantizationError if they aren't finite."""
        name, n_per_row = seen.weight.name, seen.rows.shape[1]
        sums = self._sums.setdefault(name, np.zeros((seen.n_matrices, n_per_row)))
        if seen.n_matrices == 1:
            _add_squares(sums[0], seen.rows)
        else:
            for matrix in np.unique(seen.matrix):
                _add_squares(sums[matrix], seen.rows[seen.matrix == matrix])
        if not np.isfinite(sums).all():
            raise QuantizationError(
                f"the activations of {name} aren't finite; the model is broken, or its type is too small"
            )
        if seen.routed:
            counts = self._counts.setdefault(name, np.zeros(seen.n_matrices, np.int64))
            counts += np.bincount(seen.matrix, minlength=seen.n_matrices)
        else:
            counts = self._counts.setdefault(name, np.zeros(1, np.int64))
            counts += len(seen.rows) // seen.n_matrices

    def entries(self) -> dict[str, Importance]:
        """Return the statistics of every weight so far, by its name."""
        return {
            name: Importance(sums.astype(np.float32), self._counts[name].copy())
            for name, sums in self._sums.items()
        }


def _add_squares(total: npt.NDArray[np.float64], rows: npt.NDArray[np.float32]) -> None:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        wide = rows[start : start + _ROWS_AT_ONCE].astype(np.float64)
        total += np.einsum("ij,ij->j", wide, wide)


def compute_imatrix(
    path: Path,
    plan: TextPlan,
    *,
    dataset: str,
    process_output: bool = False,
    threads: int = 1,
    on_chunks: OnCount | None = None,
    cancel: threading.Event | None = None,
) -> ImportanceMatrix:
    """Compute the matrix of the GGUF model at `path` over the plan's text, called `dataset`. Blocks.

    The model should be of 16 bits, or its own errors count. The matrix has the layers' weights, and with
    `process_output` the output matrix. `on_chunks` takes the chunks that are done, and all. Raises
    ConfigError: too little text; QuantizationError: activations that aren't finite; Cancelled; LlamaCppError.
    """

    def has_entry(name: str) -> bool:
        return name.startswith("blk.") or (process_output and name == "output.weight")

    sums = Sums()
    observer = MatmulObserver(has_entry, sums.add)
    with Model.load(path) as model:
        windows = cut_windows(model, plan)
        runner = WindowRunner(model, windows, threads=threads, observer=observer)
        try:
            for group in windows.groups():
                if cancel is not None and cancel.is_set():
                    raise Cancelled("the importance matrix was cancelled; nothing was kept")
                runner.run(group)
                if on_chunks is not None:
                    on_chunks(group.stop, len(windows))
        finally:
            runner.close()
    return ImportanceMatrix(sums.entries(), (dataset,), len(windows), plan.n_ctx)
