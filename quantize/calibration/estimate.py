"""The time that a calibrated pass will take, from pieces and a factor that are made for it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from models.llamacpp.quantization.ggml_types import row_size
from quantize.calibration.factor import Factor, factorize
from quantize.calibration.forms import form_of
from quantize.calibration.rounding import PIECE_ROWS, Rounder
from quantize.moments.blas import one_blas_thread
from quantize.plan.plan import QuantizationPlan

_WIDTHS: Final = (512, 1024)
"""Pieces of these widths are timed; a piece takes a part by its width, and one by the width's square."""

Floats = npt.NDArray[np.float32]


def estimate_seconds(plan: QuantizationPlan, rounder: Rounder, threads: int) -> float:
    """Return the seconds that rounding the plan's tensors takes on so many threads.

    Reading, writing and plain encodings aren't in it: they take a few per cent. Before the moments are there
    it isn't known which tensors share an input: then each counts as having its own.
    """
    calibration = plan.calibration
    pieces: Counter[tuple[int, int]] = Counter()
    inputs: dict[object, int] = {}
    for index, tensor in enumerate(plan.tensors):
        kinds = set(filter(form_of, plan.types_of(index)))
        if not plan.is_rounded(index) or not kinds:
            continue
        n_matrices = tensor.n_rows // tensor.ne[1]
        for kind in kinds:
            pieces[kind, tensor.n_per_row] += n_matrices * -(-tensor.ne[1] // PIECE_ROWS)
        for matrix in range(n_matrices):
            key = (tensor.name, matrix) if calibration is None else calibration.key(tensor.name, matrix)
            inputs[key] = tensor.n_per_row
    with one_blas_thread():
        cost = {kind: _piece_cost(rounder, kind) for kind in {kind for kind, _ in pieces}}
        cube = _factor_cost()
    total = sum(n * cost[kind](width) for (kind, width), n in pieces.items())
    total += sum(cube * width**3 for width in inputs.values())
    return total / threads


def _piece_cost(rounder: Rounder, ggml_type: int) -> Callable[[int], float]:
    """Return the seconds of a piece by its width."""
    small, large = (_piece_seconds(rounder, ggml_type, width) for width in _WIDTHS)
    a, b = np.linalg.solve([[width, width**2] for width in _WIDTHS], [small, large])
    return lambda width: float(max(a, 0) * width + max(b, 0) * width**2)


def _piece_seconds(rounder: Rounder, ggml_type: int, width: int) -> float:
    """Return the seconds of one piece: the second one's, for the first one may compile."""
    random = np.random.Generator(np.random.PCG64(width))
    rows = random.standard_normal((PIECE_ROWS, width)).astype(np.float32)
    out = np.empty(PIECE_ROWS * row_size(ggml_type, width), np.uint8)
    factor = _some_factor(width)
    for _ in range(2):
        began = time.perf_counter()
        rounder.round_rows(ggml_type, rows, factor, out)
        taken = time.perf_counter() - began
    return taken


def _some_factor(width: int) -> Factor:
    moments = np.eye(width, dtype=np.float32) + np.float32(0.5)
    factor = factorize(moments)
    assert factor is not None, "a positive definite matrix"
    return factor


def _factor_cost() -> float:
    """Return the seconds of a factor, by the cube of its width."""
    width = _WIDTHS[-1]
    began = time.perf_counter()
    _some_factor(width)
    return (time.perf_counter() - began) / width**3
