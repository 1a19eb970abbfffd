"""The held-out check of calibrated files: their loss on other texts, beside plain encoding's.

The 16-bit model is loaded once, for all files; their tensors are put into it, kind by kind.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from models.closing import Closing
from models.errors import ConfigError
from models.llamacpp.model import Model
from models.llamacpp.quantization.quantizer import quantize_rows
from quantize.calibration.rounding import QuantizeRows
from quantize.calibration.tensor_encoder import Tensor, TensorEncoder, kind_of
from quantize.calibration.verdict import LEAST_WINDOWS, KindLoss, TextLoss, Verdict, compare
from quantize.checkpoint.gguf import GGUFSource, open_gguf
from quantize.control import JobControl
from quantize.evaluate.patched_model import PatchedModel, most_windows
from quantize.evaluate.windows import TextPlan
from quantize.plan.types import TypeChoice

CHECK_CHUNKS: Final = 16
"""The check runs over so many windows of each text."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HeldOutText:
    """A text that nothing was calibrated with, and its name."""

    label: str
    text: str


class HeldOutModel(Closing):
    """A 16-bit model, texts, and the plain encoding that calibrated files are compared with. One thread."""

    def __init__(
        self,
        sixteen_bits: Path,
        texts: Sequence[HeldOutText],
        choice: TypeChoice,
        *,
        n_ctx: int,
        threads: int,
        quantize_rows: QuantizeRows = quantize_rows,
    ) -> None:
        """Load the model. `choice`: of the files; its importance is the plain encoding's, too.

        Raises ConfigError: too short a text; what opening the model raises.
        """
        plans = [TextPlan(text.text, n_ctx, CHECK_CHUNKS) for text in texts]
        count_windows(sixteen_bits, texts, n_ctx)
        self._encoder = TensorEncoder(choice, threads=threads, quantize_rows=quantize_rows)
        try:
            self._model = PatchedModel(sixteen_bits, plans, threads=threads)
        except BaseException:
            self._encoder.close()
            raise
        self._texts = [(text.label, n) for text, n in zip(texts, self._model.n_windows, strict=True)]

    def close(self) -> None:
        """Free the model, and end the threads."""
        self._model.close()
        self._encoder.close()

    def verdict(
        self,
        type_: str,
        path: Path,
        calibrated: Collection[str],
        control: JobControl,
    ) -> Verdict:
        """Return the verdict on the file at `path`, whose tensors `calibrated` are. Blocks.

        Those that turn out as plain encoding has them aren't tried. Counts "held-out check of TYPE".
        Raises Cancelled.
        """
        losses = []
        with closing(open_gguf(path)) as file, control.counter(f"held-out check of {type_}") as on_trials:
            kinds = self._kinds(file, calibrated)
            n_trials = len(kinds) + 1
            for kind, names in kinds.items():
                losses.append(KindLoss(kind, tuple(names), self._compare(file, names)))
                on_trials(len(losses), n_trials)
                control.raise_if_cancelled("the check was cancelled; the same command goes on with it")
            whole = self._compare_whole(file, {name for names in kinds.values() for name in names})
            on_trials(n_trials, n_trials)
        return Verdict(type_, tuple(losses), whole, whole)

    def losses(self, path: Path, tensors: Sequence[str]) -> tuple[TextLoss, ...]:
        """Return the whole file's losses as it is now, and with plain encoding of `tensors`."""
        with closing(open_gguf(path)) as file:
            return self._compare_whole(file, set(tensors))

    def _kinds(self, file: GGUFSource, names: Collection[str]) -> dict[str, list[str]]:
        """Return those of the tensors that the model computes with and that aren't plain, by kind."""
        kinds: dict[str, list[str]] = {}
        for name in filter(self._model.weights.__contains__, names):
            if not np.array_equal(self._plain(file, name), _values(file, name)):
                kinds.setdefault(kind_of(name), []).append(name)
        return kinds

    def _compare(self, file: GGUFSource, names: Sequence[str]) -> tuple[TextLoss, ...]:
        plain = self._model.divergences(names, lambda name: self._plain(file, name))
        calibrated = self._model.divergences(names, lambda name: _values(file, name))
        return compare(self._texts, plain, calibrated)

    def _compare_whole(self, file: GGUFSource, calibrated: Collection[str]) -> tuple[TextLoss, ...]:
        """Return the losses of all that the file has of the model: types that aren't calibrated lose, too."""
        names = [name for name in self._model.weights if name in file.entries]
        plain = self._model.divergences(
            names, lambda name: self._plain(file, name) if name in calibrated else _values(file, name)
        )
        made = self._model.divergences(names, lambda name: _values(file, name))
        return compare(self._texts, plain, made)

    def _plain(self, file: GGUFSource, name: str) -> Floats:
        """Return a tensor's rows as plain encoding in the file's type has them."""
        tensor = Tensor(name, self._model.weights[name].ne, self._model.rows(name))
        return self._encoder.plain_values(tensor, file.ggml_type(name))


def _values(file: GGUFSource, name: str) -> Floats:
    """Return a tensor's rows as the file has them."""
    return np.ascontiguousarray(file.rows(name, 0, file.entries[name].shape[0]), np.float32)


def count_windows(model_path: Path, texts: Sequence[HeldOutText], n_ctx: int) -> int:
    """Return how many windows of the model's tokens are looked at, of all texts together.

    `model_path`: any file with the model's vocabulary. Raises ConfigError if a text is less than
    LEAST_WINDOWS windows.
    """
    total = 0
    with Model.load(model_path, vocab_only=True) as model:
        most = most_windows(n_ctx - 1 - n_ctx // 2, model.vocab.n_tokens, len(texts))
        for text in texts:
            n_tokens = len(model.vocab.tokenize(text.text, add_special=True, parse_special=False))
            if n_tokens < LEAST_WINDOWS * n_ctx:
                raise ConfigError(
                    f"{text.label} has {n_tokens} tokens, and a held-out check needs "
                    f"{LEAST_WINDOWS * n_ctx}; give a longer text with --held-out"
                )
            total += min(n_tokens // n_ctx, CHECK_CHUNKS, most)
    return total
