"""The choice whether rows of logits stay on the GPU that computes them, as measured on this machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from models.llamacpp import library
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from models.machine.device import Device
from server.engine.batch import Batch, BatchEntry
from server.engine.sampling_params import SamplingParams
from server.ipc.model_spec import ModelSpec
from server.worker.run.runner import LlamaRunner, RunnerParts
from server.worker.sampling.device_rows import device_top_k

logger = logging.getLogger("corral.worker")

_WARM_STEPS = 2
"""This many steps are computed before those that are timed."""
_MEASURED_STEPS = 8
"""The quickest of this many steps counts."""


def choose_device_sampling(spec: ModelSpec, context: Context, *, has_head: bool = False) -> bool:
    """Leave rows of logits on the device if the settings want it and it is possible; True if they stay there.

    On auto not with speculation that was asked for, or a head in the model's file: a draft needs whole rows.
    The context is empty before and after. Raises DecodeError.
    """
    if spec.options.device_sampling == "on":
        return open_device_sampling(context, measure=False)
    speculates = has_head or spec.draft_path is not None or spec.options.speculate == "ngram"
    if spec.options.device_sampling == "off" or speculates:
        return False
    on_gpu = not spec.options.split and output_is_on_gpu(context.model, library.devices())
    return on_gpu and open_device_sampling(context, measure=True)


def output_is_on_gpu(model: Model, devices: Sequence[Device]) -> bool:
    """True if a GPU computes the logits: llama.cpp offloads from the end, the output layer first."""
    return model.n_gpu_layers != 0 and any(device.type in ("gpu", "igpu") for device in devices)


def open_device_sampling(context: Context, *, measure: bool) -> bool:
    """Turn all slots of `context` on if the device can, and, when measured, if that is quicker; True if so.

    The context is empty before and after. Raises DecodeError.
    """
    top_k, slots = device_top_k(context), range(context.n_seq_max)
    sizes = sorted({1, len(slots)})
    whole_s = [step_s(context, n, on_device=False) for n in sizes] if measure else []
    if not top_k.turn_on(slots):
        return False
    if not measure:
        step_s(context, 1, on_device=True)  # so that memory is reserved now
        return True
    device_s = [step_s(context, n, on_device=True) for n in sizes]
    logger.info(
        "sampling on the GPU: %s ms a step, with whole rows %s (%s rows)",
        *(", ".join(f"{s * 1e3:.2f}" for s in times) for times in (device_s, whole_s)),
        ", ".join(map(str, sizes)),
    )
    if sum(device_s) < sum(whole_s):
        return True
    top_k.turn_off(slots)
    step_s(context, 1, on_device=False)
    return False


def step_s(context: Context, n_rows: int, *, on_device: bool) -> float:
    """Return the seconds of the quickest of some steps of `n_rows` sequences, sampled as by default.

    The context is empty before and after. Raises DecodeError.
    """
    runner = LlamaRunner(context, context.n_ctx_seq, can_trim=False, parts=RunnerParts(on_device=on_device))
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
