"""The time that the held-out check of calibrated files takes, reckoned before it begins."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size
from models.llamacpp.quantization.quantizer import quantize_rows
from quantize.calibration.forms import form_of
from quantize.calibration.rounding import PIECE_ROWS, QuantizeRows
from quantize.calibration.tensor_encoder import kind_of
from quantize.plan.plan import QuantizationPlan
from quantize.plan.products import Product

_ENCODED: Final = 3
"""Each calibrated weight is encoded plainly this often: to compare its bytes, for its kind, for the whole."""
_DECODED: Final = 6
"""It is decoded this often, after each of these, and as the file has it each time."""
_WRITTEN: Final = 4
"""It is put into the model this often: for its kind and for the whole, plainly and calibrated."""
_WIDTH: Final = 1024
"""A piece of this width is timed."""


@dataclass(frozen=True)
class CheckWindows:
    """The windows of a check: so many of all texts together, of `n_ctx` tokens, in batches of `n_batch`."""

    n_windows: int
    n_ctx: int
    n_batch: int

    @property
    def n_tokens(self) -> int:
        """The tokens of all windows."""
        return self.n_windows * self.n_ctx

    @property
    def n_scored(self) -> int:
        """The tokens of all windows whose logits are computed."""
        return self.n_windows * (self.n_ctx - self.n_ctx // 2)


@dataclass(frozen=True)
class CheckPace:
    """The seconds of one multiplication of the model's, and of the comparison of one logit."""

    product: float
    comparison: float


def check_seconds(
    plan: QuantizationPlan,
    products: Sequence[Product],
    windows: CheckWindows,
    pace: CheckPace,
    quantize_rows: QuantizeRows,
    threads: int,
) -> float:
    """Return the seconds of a check of all files of the plan: runs of the model, and what is put into it.

    `quantize_rows`: the plain encoder. That kinds fall back, and are made again, isn't in it.
    """
    n_vocab = next((product.ne[1] for product in products if product.layer is None), 0)
    of_logits = sum(product.operations for product in products if product.layer is None)
    of_layers = sum(product.operations for product in products) - of_logits
    run = (windows.n_tokens * of_layers + windows.n_scored * of_logits) * pace.product
    compared = windows.n_scored * n_vocab * pace.comparison
    first = min(1.0, windows.n_batch / windows.n_tokens) * run  # to see which weights there are
    computed = {product.name for product in products}
    total, kinds_timed = first + run + compared, dict[int, tuple[float, float]]()
    for file in plan.files:
        rounded = [
            tensor
            for index, tensor in enumerate(file.tensors, file.first)
            if plan.is_rounded(index) and form_of(tensor.ggml_type) and tensor.name in computed
        ]
        if not rounded:
            continue
        n_kinds = len({kind_of(tensor.name) for tensor in rounded})
        total += 2 * (n_kinds + 1) * (run + compared)
        for tensor in rounded:
            if tensor.ggml_type not in kinds_timed:
                kinds_timed[tensor.ggml_type] = _weight_seconds(tensor.ggml_type, quantize_rows)
            encoding, placing = kinds_timed[tensor.ggml_type]
            total += int(np.prod(tensor.ne)) * (encoding / threads + placing)
    return total


def _weight_seconds(ggml_type: int, quantize_plainly: QuantizeRows) -> tuple[float, float]:
    """Return the seconds for each number of a weight: on all threads, and on one."""
    rows = np.random.Generator(np.random.PCG64(0)).standard_normal((PIECE_ROWS, _WIDTH), np.float32)
    importance = np.ones(_WIDTH, np.float32)
    encoded = np.empty(PIECE_ROWS * row_size(ggml_type, _WIDTH), np.uint8)
    halves = np.empty(PIECE_ROWS * row_size(GGML_TYPES["F16"], _WIDTH), np.uint8)
    for _ in range(2):  # the first one may compile
        times = [time.perf_counter()]
        quantize_plainly(ggml_type, rows, encoded, importance)
        times.append(time.perf_counter())
        dequantize_rows(ggml_type, encoded, _WIDTH)
        times.append(time.perf_counter())
        quantize_rows(GGML_TYPES["F16"], rows, halves)
        times.append(time.perf_counter())
    encoding, decoding, halving = np.diff(times) / rows.size
    return float(_ENCODED * encoding), float(_DECODED * decoding + 2 * _WRITTEN * halving)
