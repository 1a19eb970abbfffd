"""What a worker takes of the memory, and whether that is free now: asked before one more model is loaded.

Counted is what a worker allocates. Of the file's own pages, mapped a second time for the prompt side
(`server.worker.run.prefill_context`), only that they must have room: the system can drop them at any time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import CorralError
from models.gguf.info import GGUFInfo, read_gguf_info
from models.machine.fit import KV_TYPES, MIB, MemoryEstimate, estimate, fits_in_memory, plan_gpu_layers
from models.machine.hardware import probe_devices
from models.machine.host_memory import memory
from server.ipc.model_spec import AdapterSpec, ModelSpec

logger = logging.getLogger("corral.supervisor")

DEFAULT_N_CTX = 4096
PROBE_TIMEOUT_S = 20.0
GPU_MARGIN_BYTES = 512 * MIB
PROMPT_SIDE_SPARE_BYTES = 1 << 30
"""What a worker leaves free beside the weights when it opens a prompt side."""


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """Bytes that a worker allocates: for the model, for all LoRA adapters, and for the draft model.

    `prompt_side`: the KV cache and working memory of the second context, and the state that moves between
    the two; 0 where the worker opens none.
    """

    model: MemoryEstimate
    adapters: int = 0
    draft: int = 0
    prompt_side: int = 0

    @property
    def beside(self) -> int:
        """All but the model's own."""
        return self.adapters + self.draft + self.prompt_side


async def fits(spec: ModelSpec) -> bool:
    """True if the model fits beside all that runs now, or where only llama.cpp can tell."""
    try:
        return await asyncio.to_thread(_fits, spec)
    except CorralError as error:
        logger.debug("no estimate for %s: %s", spec.name, error.message)
        return True


def memory_of(info: GGUFInfo, spec: ModelSpec, available_bytes: int, n_gpu_layers: int = 0) -> WorkerMemory:
    """What the worker takes at most that is started with `spec` while `available_bytes` are free.

    Raises ContextError, and InvalidGGUF for the draft model's file.
    """
    needs = needs_of(info, spec)
    adapters, draft = adapter_bytes(spec.adapters), draft_bytes(spec)
    side = 0
    if has_prompt_side(info, spec, n_gpu_layers):
        free = available_bytes - needs.total - adapters
        if needs.weights + PROMPT_SIDE_SPARE_BYTES <= free:
            side = needs.kv + needs.compute + needs.output + needs.kv // spec.n_parallel
    return WorkerMemory(needs, adapters, draft, side)


def needs_of(info: GGUFInfo, spec: ModelSpec) -> MemoryEstimate:
    """The memory `info` takes when it is loaded as `spec` says. Raises ContextError."""
    return estimate(
        info,
        n_ctx_of(info, spec),
        spec.n_parallel,
        _wider(spec.type_k, spec.type_v),
        n_ubatch=spec.n_ubatch,
        kv_unified=spec.kv_unified,
        flash_attn=spec.flash_attn != "off",
    )


def n_ctx_of(info: GGUFInfo, spec: ModelSpec) -> int:
    """The context of one request, if memory allows it."""
    return spec.n_ctx or min(info.n_ctx_train or DEFAULT_N_CTX, DEFAULT_N_CTX)


def adapter_bytes(adapters: Sequence[AdapterSpec]) -> int:
    """A file that is gone counts nothing: loading it says so."""
    paths = [Path(adapter.path) for adapter in adapters]
    return sum(path.stat().st_size for path in paths if path.is_file())


def draft_bytes(spec: ModelSpec) -> int:
    """The draft model with a KV cache for as many tokens as the served one has. Raises InvalidGGUF."""
    if spec.draft_path is None:
        return 0
    n_ctx = n_ctx_of(read_gguf_info(Path(spec.path)), spec)
    kv_type = _wider(spec.type_k, spec.type_v)
    draft = read_gguf_info(Path(spec.draft_path))
    return estimate(draft, n_ctx, spec.n_parallel, kv_type, n_ubatch=spec.n_ubatch).total


def has_prompt_side(info: GGUFInfo, spec: ModelSpec, n_gpu_layers: int) -> bool:
    """Whether the worker opens one where memory allows, as far as a header tells; see `worker.loading`."""
    if spec.prompt_side == "off" or spec.kv_unified or n_gpu_layers:
        return False
    windowed = info.hyperparameter("attention.sliding_window")
    recurrent = info.hyperparameter("ssm.state_size")
    return not windowed and not recurrent


def _fits(spec: ModelSpec) -> bool:
    info = read_gguf_info(Path(spec.path))
    available_bytes = memory().available_bytes
    n_gpu_layers = 0
    if spec.n_gpu_layers != 0:
        devices, _ = probe_devices(PROBE_TIMEOUT_S)
        if any(device.is_gpu for device in devices):
            needs = needs_of(info, spec)
            wanted = needs.n_layer + 1 if spec.n_gpu_layers == "auto" else spec.n_gpu_layers
            # Adapters and the draft model follow the layers: here they may be on either side, or on both.
            margin = GPU_MARGIN_BYTES + adapter_bytes(spec.adapters) + draft_bytes(spec)
            n_gpu_layers = plan_gpu_layers(needs, devices, margin)
            if n_gpu_layers < min(wanted, needs.n_layer + 1):
                return False
    taken = memory_of(info, spec, available_bytes, n_gpu_layers)
    return fits_in_memory(taken.model, available_bytes - taken.beside, n_gpu_layers).fits


def _wider(*kv_types: str) -> str:
    """The type that takes most per number; one that is unknown comes first, to be refused."""

    def bytes_each(kv_type: str) -> float:
        known = KV_TYPES.get(kv_type.lower())
        return known.block_bytes / known.block_size if known else float("inf")

    return max(kv_types, key=bytes_each)
