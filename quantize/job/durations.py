"""The times that a calibrated job will take, for a dry run: estimates, from small pieces."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from models.errors import StoreError
from models.machine.host_memory import memory
from quantize.calibration.check_time import CheckPace, CheckWindows, check_seconds
from quantize.calibration.estimate import estimate_seconds
from quantize.calibration.rounding import NORMAL_EFFORT, Rounder
from quantize.evaluate.pace import comparison_seconds, product_seconds
from quantize.kernels.compiler import KernelCompiler
from quantize.moments.collect import working_bytes
from quantize.moments.estimate import collecting_seconds, expected_inputs, sum_pace
from quantize.moments.sampling import Sampling
from quantize.moments.sums import sum_bytes
from quantize.plan.plan import QuantizationPlan
from quantize.plan.products import products_of
from quantize.run.options import RunOptions

logger = logging.getLogger("corral.quantize")


@dataclass(frozen=True)
class Durations:
    """The seconds of a calibrated job's steps; None for a step that isn't made."""

    rounding: float
    collecting: float | None = None
    check: float | None = None


def estimate_durations(
    plan: QuantizationPlan,
    kernels: KernelCompiler,
    run: RunOptions,
    *,
    text: Sampling | None = None,
    windows: CheckWindows | None = None,
) -> Durations:
    """Return how long a calibrated pass and what is around it take on this machine. Takes some seconds.

    `text`: of which moments are collected first; `windows`: of the held-out check, if it is made. Raises
    QuantizationError: the kernels can't be compiled; LlamaCppError.
    """
    threads, calibration = run.n_threads, plan.calibration
    rounder = (
        Rounder(kernels.quantize_rows, kernels.feedback(), NORMAL_EFFORT)
        if calibration is None
        else calibration.rounder
    )
    rounding = estimate_seconds(plan, rounder, threads)
    products = products_of(plan)
    if not products or (text is None and windows is None):
        return Durations(rounding)
    widths = [product.ne[0] for product in products]
    try:
        of_product = product_seconds(threads, products[0].ne[0], max(widths))
    except StoreError as error:  # a full TMPDIR keeps no files from being made
        logger.warning("the times of collecting and of the check aren't told: %s", error.message)
        return Durations(rounding)
    collecting, check = None, None
    inputs = [one.input for one in expected_inputs(products)]
    if text is not None and inputs:
        budget = run.memory_bytes if run.memory_bytes is not None else memory().available_bytes // 2
        room = budget - working_bytes(inputs, threads)
        if room >= max(sum_bytes(one, text) for one in inputs):  # else collecting will be refused
            collecting = collecting_seconds(products, text, room, of_product, sum_pace(threads))
    if windows is not None:
        n_vocab = next((product.ne[1] for product in products if product.layer is None), 1)
        pace = CheckPace(of_product, comparison_seconds(n_vocab))
        check = check_seconds(plan, products, windows, pace, kernels.quantize_rows, threads)
    return Durations(rounding, collecting, check)
