"""Whether a model fits into the memory that is free now: asked before one more is loaded."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from models.errors import CorralError
from models.fit import MemoryEstimate, estimate, fits_in_memory, plan_gpu_layers
from models.gguf_info import GGUFInfo, read_gguf_info
from models.hardware import probe_devices
from models.memory import memory
from server.worker.messages import ModelSpec

logger = logging.getLogger("corral.supervisor")

DEFAULT_N_CTX = 4096
PROBE_TIMEOUT_S = 20.0


async def fits(spec: ModelSpec) -> bool:
    """True if the model fits beside all that runs now, or where only llama.cpp can tell."""
    try:
        return await asyncio.to_thread(_fits, spec)
    except CorralError as error:
        logger.debug("no estimate for %s: %s", spec.name, error.message)
        return True


def needs_of(info: GGUFInfo, spec: ModelSpec) -> MemoryEstimate:
    """The memory `info` takes when it is loaded as `spec` says. Raises ContextError."""
    return estimate(
        info,
        spec.n_ctx or min(info.n_ctx_train or DEFAULT_N_CTX, DEFAULT_N_CTX),
        spec.n_parallel,
        spec.type_k,
        n_ubatch=spec.n_ubatch,
        kv_unified=spec.kv_unified,
        flash_attn=spec.flash_attn != "off",
    )


def _fits(spec: ModelSpec) -> bool:
    info = read_gguf_info(Path(spec.path))
    needs = needs_of(info, spec)
    n_gpu_layers = 0
    if spec.n_gpu_layers != 0:
        devices, _ = probe_devices(PROBE_TIMEOUT_S)
        if any(device.is_gpu for device in devices):
            wanted = needs.n_layer + 1 if spec.n_gpu_layers == "auto" else spec.n_gpu_layers
            n_gpu_layers = plan_gpu_layers(needs, devices)
            if n_gpu_layers < min(wanted, needs.n_layer + 1):
                return False
    return fits_in_memory(needs, memory().available_bytes, n_gpu_layers).fits
