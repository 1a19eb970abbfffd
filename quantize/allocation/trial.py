"""Trials: a tensor of a loaded 16-bit model encoded as a type would, and what that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.closing import Closing
from models.llamacpp.eval_callback import Weight
from models.llamacpp.quantization.quantizer import quantize_rows
from quantize.calibration.tensor_encoder import Tensor, TensorEncoder
from quantize.evaluate.patched_model import PatchedModel
from quantize.evaluate.windows import TextPlan
from quantize.plan.types import TypeChoice
from quantize.run.encode import QuantizeRows


class TrialModel(Closing):
    """A 16-bit (or F32) model in memory whose tensors are encoded as a choice would have them. One thread."""

    def __init__(
        self,
        path: Path,
        plan: TextPlan,
        choice: TypeChoice,
        *,
        threads: int,
        quantize_rows: QuantizeRows = quantize_rows,
    ) -> None:
        """Load the model at `path`; rows are encoded by the choice's importance and calibration.

        `quantize_rows`: ggml's or a `KernelCompiler`'s. Raises ConfigError: too little text; LlamaCppError.
        """
        self._encoder = TensorEncoder(choice, threads=threads, quantize_rows=quantize_rows)
        try:
            self._model = PatchedModel(path, [plan], threads=threads)
        except BaseException:
            self._encoder.close()
            raise

    @property
    def weights(self) -> Mapping[str, Weight]:
        """The weights that the model computes with, by name."""
        return self._model.weights

    def close(self) -> None:
        """Free the model, and end the threads."""
        self._model.close()
        self._encoder.close()

    def errors(self, name: str, ggml_types: Sequence[int]) -> list[float]:
        """Return what the tensor loses by each type: its squared errors, weighted, over the whole tensor."""
        return self._encoder.losses(self._tensor(name), ggml_types)

    def divergence(self, types: Mapping[str, int]) -> float:
        """Return the mean KL divergence, in nats, with each named tensor as its type would have it."""
        divergences = self._model.divergences(
            types, lambda name: self._encoder.values(self._tensor(name), types[name])
        )
        return float(divergences.mean())

    def _tensor(self, name: str) -> Tensor:
        return Tensor(name, self.weights[name].ne, self._model.rows(name))
