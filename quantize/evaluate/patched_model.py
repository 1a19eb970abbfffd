"""`PatchedModel`: a 16-bit model in memory whose weights are replaced for as long as texts are run.

What a replacement does is told by how far predictions go from the model's own. Weights come back from the
file; nothing is written to disk, and one model is loaded, whatever is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from models.closing import Closing
from models.llamacpp.eval_callback import MatmulObserver, Weight, write_weight
from models.llamacpp.model import Model
from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size
from models.llamacpp.quantization.quantizer import quantize_rows
from quantize.checkpoint.gguf import GGUFSource, open_gguf
from quantize.evaluate.divergence import Divergences, log_softmax
from quantize.evaluate.windows import TextPlan, WindowRunner, Windows, cut_windows

_KEPT_BYTES: Final = 2**30
"""The model's predictions take at most a gibibyte of f32, which bounds the windows that are looked at."""

_LEAST_WINDOWS: Final = 4
"""So many windows of each text are looked at all the same."""

_PLAIN: Final = tuple(GGML_TYPES[name] for name in ("F32", "F16", "BF16"))

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


class PatchedModel(Closing):
    """A 16-bit (or F32) model in memory, windows of texts, and its own predictions of them. One thread."""

    weights: Mapping[str, Weight]
    """The weights that can be replaced, by name."""
    n_windows: tuple[int, ...]
    """The number of windows of each text; they come in the order of the texts."""

    def __init__(self, path: Path, plans: Sequence[TextPlan], *, threads: int) -> None:
        """Load the model at `path` and run it over the windows of all texts, which are equally long.

        Raises ConfigError: too little text; CheckpointError, InvalidGGUF, LlamaCppError.
        """
        self._source = open_gguf(path)
        self._model: Model | None = None
        self._runner: WindowRunner | None = None
        try:
            self._model = Model.load(path, use_mmap=False, use_extra_bufts=False)
            self._windows, self.n_windows = _cut(self._model, plans)
            self.weights = _find_weights(self._model, self._windows, self._source, threads)
            self._runner = WindowRunner(self._model, self._windows, threads=threads)
            self._base = [log_softmax(self._runner.logits(group)) for group in self._windows.groups()]
        except BaseException:  # Ctrl-C, too: nobody else closes it
            self.close()
            raise

    def close(self) -> None:
        """Free the context and the model, and close the file."""
        if self._runner is not None:
            self._runner.close()
        if self._model is not None:
            self._model.close()
        self._source.close()

    def rows(self, name: str) -> Floats:
        """Return a weight's own rows [n_rows, n_per_row] f32; experts follow each other."""
        n_rows = self._source.entries[name].shape[0]
        return np.ascontiguousarray(self._source.rows(name, 0, n_rows), np.float32)

    def divergences(self, names: Iterable[str], values: Callable[[str], Floats]) -> Doubles:
        """Return the KL divergences [n_windows, n_scored], in nats, with the named weights replaced.

        `values` returns the rows [n_rows, n_per_row] f32 that a weight gets. Raises what it raises.
        """
        runner, replaced = self._runner, []
        assert runner is not None, "closed"
        divergences = Divergences()
        try:
            for name in names:
                replaced.append(name)
                write_weight(self.weights[name], _narrowed(values(name), self.weights[name].ggml_type))
            for group, base in zip(self._windows.groups(), self._base, strict=True):
                divergences.add(base, log_softmax(runner.logits(group)))
        finally:
            for name in replaced:
                write_weight(self.weights[name], self._original(name))
        return divergences.kl.reshape(len(self._windows), -1)

    def _original(self, name: str) -> npt.NDArray[np.uint8]:
        return self._source.raw_rows(name, 0, self._source.entries[name].shape[0])


def _cut(model: Model, plans: Sequence[TextPlan]) -> tuple[Windows, tuple[int, ...]]:
    """Return the windows of all texts, as many of each as there is room for, and how many each has."""
    cut = [cut_windows(model, plan) for plan in plans]
    most = most_windows(cut[0].n_scored, model.vocab.n_tokens, len(plans))
    cut = [
        windows if len(windows) <= most else cut_windows(model, replace(plan, n_chunks=most))
        for windows, plan in zip(cut, plans, strict=True)
    ]
    tokens = np.concatenate([windows.tokens for windows in cut])
    return Windows(tokens, cut[0].bos), tuple(map(len, cut))


def most_windows(n_scored: int, n_vocab: int, n_texts: int) -> int:
    """Return how many windows of each text are looked at at most: their predictions are kept."""
    return max(_LEAST_WINDOWS, _KEPT_BYTES // (n_scored * n_vocab * 4 * n_texts))


def _find_weights(model: Model, windows: Windows, source: GGUFSource, threads: int) -> Mapping[str, Weight]:
    """Return the weights that a graph computes with and that lie in memory as they are in the file."""
    observer = MatmulObserver(lambda name: name.endswith(".weight"), lambda _seen: None)
    runner = WindowRunner(model, windows, threads=threads, observer=observer)
    try:
        runner.logits(next(iter(windows.groups())))
    finally:
        runner.close()
    return {
        name: weight
        for name, weight in observer.weights.items()
        if weight.ggml_type in _PLAIN
        and name in source.entries
        and source.ggml_type(name) == weight.ggml_type
        and source.entries[name].shape[-1] == weight.ne[0]
    }


def _narrowed(rows: Floats, ggml_type: int) -> npt.NDArray[np.uint8]:
    out = np.empty(len(rows) * row_size(ggml_type, rows.shape[1]), np.uint8)
    quantize_rows(ggml_type, rows, out)
    return out
