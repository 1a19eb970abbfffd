"""Trial encodings: a tensor of a loaded 16-bit model encoded as a type would, and what that changes.

The tensor's bytes are replaced in memory by what its encoded form stands for, the model run, the bytes put
back. Nothing is written to disk, and one model is loaded, whatever is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.closing import Closing
from models.llamacpp.eval_callback import MatmulObserver, Weight, read_weight, write_weight
from models.llamacpp.model import Model
from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size
from models.llamacpp.quantization.quantizer import quantize_rows
from quantize.evaluate.divergence import Divergences, log_softmax
from quantize.evaluate.windows import TextPlan, WindowRunner, cut_windows
from quantize.imatrix.matrix import ImportanceMatrix
from quantize.run.encode import QuantizeRows

_KEPT_BYTES = 2**30
"""The baseline's predictions take at most a gibibyte of f32, which bounds the windows that are looked at."""

_PLAIN = tuple(GGML_TYPES[name] for name in ("F32", "F16", "BF16"))

Floats = npt.NDArray[np.float32]


class TrialModel(Closing):
    """A 16-bit (or F32) model in memory, its text, and its own predictions of it. One thread."""

    def __init__(
        self,
        path: Path,
        plan: TextPlan,
        imatrix: ImportanceMatrix | None,
        *,
        threads: int,
        quantize_rows: QuantizeRows = quantize_rows,
    ) -> None:
        """Load the model at `path`; rows are encoded by `quantize_rows`, ggml's or a `KernelCompiler`'s.

        Raises ConfigError: too little text; LlamaCppError.
        """
        self._quantize_rows = quantize_rows
        self._imatrix = imatrix
        self._model = Model.load(path, use_mmap=False, use_extra_bufts=False)
        try:
            n_vocab = self._model.vocab.n_tokens
            windows = cut_windows(self._model, plan)
            most = max(1, _KEPT_BYTES // (windows.n_scored * n_vocab * 4))
            if most < len(windows):
                windows = cut_windows(self._model, replace(plan, n_chunks=most))
            self._windows = windows
            self.weights = self._find_weights(threads)
            self._runner = WindowRunner(self._model, windows, threads=threads)
            self._base = [log_softmax(self._runner.logits(group)) for group in windows.groups()]
        except BaseException:  # Ctrl-C, too: nobody else closes it
            self._model.close()
            raise

    def _find_weights(self, threads: int) -> Mapping[str, Weight]:
        observer = MatmulObserver(lambda name: name.endswith(".weight"), lambda _seen: None)
        runner = WindowRunner(self._model, self._windows, threads=threads, observer=observer)
        try:
            runner.logits(next(iter(self._windows.groups())))
        finally:
            runner.close()
        return {name: weight for name, weight in observer.weights.items() if weight.ggml_type in _PLAIN}

    def close(self) -> None:
        """Free the context and the model."""
        self._runner.close()
        self._model.close()

    def error(self, name: str, ggml_type: int) -> float:
        """Return the sum of importance · (change of the weight)^2, over the whole tensor."""
        rows = self.rows(name)
        change = np.square(self._encoded(name, rows, ggml_type) - rows)
        weights = self._weights(name)
        if weights is None:
            return float(change.sum(dtype=np.float64))
        per_matrix = change.reshape(len(weights), -1, rows.shape[1]).sum(axis=1, dtype=np.float64)
        return float((per_matrix * weights).sum())

    def divergence(self, types: Mapping[str, int]) -> float:
        """Return the mean KL divergence, in nats, with each named tensor as its type would have it."""
        original = {name: read_weight(self.weights[name]) for name in types}
        try:
            for name, ggml_type in types.items():
                encoded = self._encoded(name, self.rows(name), ggml_type)
                write_weight(self.weights[name], _narrowed(encoded, self.weights[name].ggml_type))
            return self._divergence()
        finally:
            for name, data in original.items():
                write_weight(self.weights[name], data)

    def _divergence(self) -> float:
        divergences = Divergences()
        for group, base in zip(self._windows.groups(), self._base, strict=True):
            divergences.add(base, log_softmax(self._runner.logits(group)))
        return divergences.mean()

    def rows(self, name: str) -> Floats:
        """Return the tensor's rows [n_rows, n_per_row] f32."""
        weight = self.weights[name]
        return dequantize_rows(weight.ggml_type, read_weight(weight), weight.ne[0])

    def _weights(self, name: str) -> Floats | None:
        return None if self._imatrix is None else self._imatrix.weights_for(name, self.weights[name].ne)

    def _encoded(self, name: str, rows: Floats, ggml_type: int) -> Floats:
        """Return `rows` as the type would have them. Raises LlamaCppError: the type needs importance."""
        n_per_row = rows.shape[1]
        weights = self._weights(name)
        out = np.empty(len(rows) * row_size(ggml_type, n_per_row), np.uint8)
        per_matrix = len(rows) if weights is None else len(rows) // len(weights)
        for start in range(0, len(rows), per_matrix):
            piece = out[start * row_size(ggml_type, n_per_row) :]
            importance = None if weights is None else weights[start // per_matrix]
            self._quantize_rows(ggml_type, rows[start : start + per_matrix], piece, importance)
        return dequantize_rows(ggml_type, out, n_per_row)


def _narrowed(rows: Floats, ggml_type: int) -> npt.NDArray[np.uint8]:
    out = np.empty(len(rows) * row_size(ggml_type, rows.shape[1]), np.uint8)
    quantize_rows(ggml_type, rows, out)
    return out
