"""Computing an importance matrix: a text runs through the 16-bit model, and squares are summed on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import QuantizationError
from models.llamacpp.eval_callback import Activations, MatmulObserver
from models.llamacpp.model import Model
from quantize.evaluate.windows import DEFAULT_N_CTX, WindowRunner, windows_of
from quantize.imatrix.matrix import Importance, ImportanceMatrix

_ROWS_AT_ONCE = 256

OnChunks = Callable[[int, int], None]
"""Takes the chunks done and the chunks in all."""


class Sums:
    """What was seen of each weight so far, in f64. `add` is an observer's `on_activations`."""

    def __init__(self) -> None:
        self._sums: dict[str, npt.NDArray[np.float64]] = {}
        self._counts: dict[str, npt.NDArray[np.int64]] = {}

    def add(self, seen: Activations) -> None:
        """Raises QuantizationError: activations that aren't finite."""
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
        return {
            name: Importance(sums.astype(np.float32), self._counts[name].copy())
            for name, sums in self._sums.items()
        }


def _add_squares(total: npt.NDArray[np.float64], rows: npt.NDArray[np.float32]) -> None:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        wide = rows[start : start + _ROWS_AT_ONCE].astype(np.float64)
        total += np.einsum("ij,ij->j", wide, wide)


def compute_imatrix(  # noqa: PLR0913
    path: Path,
    text: str,
    *,
    dataset: str,
    n_ctx: int = DEFAULT_N_CTX,
    n_chunks: int | None = None,
    process_output: bool = False,
    threads: int = 1,
    on_chunks: OnChunks | None = None,
    cancel: threading.Event | None = None,
) -> ImportanceMatrix:
    """Of the GGUF model at `path` (16-bit: its own errors count else), from all of `text` or `n_chunks`.

    Layers' weights, and with `process_output` the output matrix. Blocks. Raises ConfigError: too little
    text; QuantizationError: cancelled, or activations that aren't finite; LlamaCppError.
    """

    def wanted(name: str) -> bool:
        return name.startswith("blk.") or (process_output and name == "output.weight")

    sums = Sums()
    observer = MatmulObserver(wanted, sums.add)
    with Model.load(path) as model:
        windows = windows_of(model, text, n_ctx=n_ctx, n_chunks=n_chunks)
        runner = WindowRunner(model, windows, threads=threads, observer=observer)
        try:
            for group in windows.groups():
                if cancel is not None and cancel.is_set():
                    raise QuantizationError("the importance matrix was cancelled; nothing was kept")
                runner.run(group)
                if on_chunks is not None:
                    on_chunks(group.stop, len(windows))
        finally:
            runner.close()
    return ImportanceMatrix(sums.entries(), (dataset,), len(windows), n_ctx)
