"""The time of the held-out check: two runs for each kind of tensor and for all, of each file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quantize.calibration.check_time import CheckPace, CheckWindows, check_seconds
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.plan.make_plan import make_plan
from quantize.plan.plan import QuantizationPlan
from quantize.plan.products import products_of
from quantize.plan.types import TypeChoice
from tests.pico import write_pico_checkpoint

WINDOWS = CheckWindows(16, 256, 2048)


def plan_of(directory: Path, *types: str) -> QuantizationPlan:
    with Checkpoint.open(directory) as checkpoint:
        return make_plan(checkpoint, types, choice=TypeChoice(awaits_calibration=True))


def no_time(_type: int, _rows: object, out: np.ndarray, _weights: object = None) -> int:
    return out.nbytes


def test_runs_of_the_model(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico")
    plan = plan_of(directory, "F16", "Q4_0")
    products = products_of(plan)
    *layers, output = products
    n_operations = 4096 * sum(one.operations for one in layers) + 2048 * output.operations
    taken = [
        check_seconds(plan_of(directory, *types), products, WINDOWS, CheckPace(1.0, 0.0), no_time, 1)
        for types in (["F16", "Q4_0"], ["Q4_0", "Q8_0"], ["F16"])
    ]
    # A run for predictions, half of one to see weights; eight kinds and all of them, calibrated and plainly.
    assert taken[0] == pytest.approx(n_operations * (1.5 + 2 * 9), rel=1e-6)
    assert taken[1] == pytest.approx(n_operations * (1.5 + 4 * 9), rel=1e-6)
    assert taken[2] == pytest.approx(n_operations * 1.5, rel=1e-6)
    seconds = check_seconds(plan, products, WINDOWS, CheckPace(0.0, 1.0), no_time, 1)
    assert seconds == pytest.approx(2048 * output.ne[1] * 19, rel=1e-6)


def test_the_tokens_are_those_that_were_told() -> None:
    """Nine kinds and all of them: 80,000 tokens for a text."""
    assert WINDOWS.n_tokens * 2 * 10 == pytest.approx(80_000, rel=0.05)
