"""Whether rows of logits stay on the GPU that computes them: where it pays, as measured on this machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from models.llamacpp.context import Context
from models.llamacpp.library import Device
from models.llamacpp.model import Model
from server.engine.batch import Batch, BatchEntry
from server.engine.sampling_params import SamplingParams
from server.worker.run.runner import LlamaRunner

logger = logging.getLogger("corral.worker")

_WARM_STEPS = 2
_MEASURED_STEPS = 8


def output_is_on_gpu(model: Model, devices: Sequence[Device]) -> bool:
    """llama.cpp offloads from the end: the output layer goes first."""
    return model.n_gpu_layers != 0 and any(device.type in ("gpu", "igpu") for device in devices)


def open_device_sampling(runner: LlamaRunner, context: Context, *, measure: bool) -> bool:
    """Have `runner` leave rows on the device: if it can, and, when measured, if that is quicker.

    For a runner that has no sequences; `context` is empty afterwards. Raises DecodeError.
    """
    sizes = sorted({1, runner.n_slots})
    whole_s = [step_s(runner, context, n) for n in sizes] if measure else []
    if not runner.use_device():
        return False
    if not measure:
        step_s(runner, context, 1)  # so that memory is reserved now
        return True
    there_s = [step_s(runner, context, n) for n in sizes]
    logger.info(
        "sampling beside the GPU: %s ms a step, with whole rows %s (%s rows)",
        *(", ".join(f"{s * 1e3:.2f}" for s in times) for times in (there_s, whole_s)),
        ", ".join(map(str, sizes)),
    )
    if sum(there_s) < sum(whole_s):
        return True
    runner.leave_device()
    step_s(runner, context, 1)
    return False


def step_s(runner: LlamaRunner, context: Context, n_rows: int) -> float:
    """Seconds of the quickest of some steps of `n_rows` sequences, sampled as by default."""
    token = context.model.vocab.bos or 0
    times = []
    for number in range(n_rows):
        runner.open(number, SamplingParams(), number, [token])
    try:
        for position in range(_WARM_STEPS + _MEASURED_STEPS):
            entries = [BatchEntry(number, number, [token], position, 1) for number in range(n_rows)]
            start = time.perf_counter()
            runner.run(Batch(entries=entries))
            times.append(time.perf_counter() - start)
    finally:
        for number in range(n_rows):
            runner.close(number)
        context.clear()
    return min(times[_WARM_STEPS:])
