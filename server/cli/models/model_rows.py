"""Rows of `corral list` and `corral show` for stored models: plain dictionaries, ready to print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models.errors import CorralError
from models.gguf.info import GGUFInfo, read_gguf_info
from models.gguf.pooling import pooling_of
from models.machine.fit import DeviceLike, format_bytes
from models.pooling import kind_of
from models.store.store import StoredFile, StoredModel
from server.kernels.outlook import expects_panels
from server.placement.facts import FreeMemory, ModelFacts
from server.placement.place import place
from server.placement.placement import Placement
from server.serve_options import ServeOptions


def type_rows(model: StoredModel, available_bytes: int) -> list[dict[str, Any]]:
    """Return one row per type, with `fits` None where the file can't be judged."""
    return [
        {
            "name": model.name,
            "type": file.type,
            "size_bytes": file.size_bytes,
            "bits_per_weight": file.bits_per_weight,
            "parameters": model.manifest.parameters,
            "architecture": model.manifest.architecture,
            "source": source_of(model),
            "revision": model.revision,
            "prompt_format": model.manifest.prompt_format,
            "quality": (model.manifest.quality or {}).get(file.type),
            "created": model.manifest.created,
            "path": str(file.path),
            "projector": None if model.projector is None else str(model.projector),
            "own_bytes": file.own_bytes,
            **fit_of(file, available_bytes, ServeOptions()),
        }
        for file in model.types.values()
    ]


def source_of(model: StoredModel) -> str:
    """Return `org/name@1a2b3c4d`, `demo`, a local path, or another program's name for it."""
    source = model.manifest.source
    if source.program is not None:
        return f"{source.program} {source.title}"
    if source.kind == "hub":
        return f"{source.repo}@{(source.revision or '')[:8]}" if source.revision else str(source.repo)
    return source.path or source.kind


ListDevices = Callable[[], Sequence[DeviceLike]]
"""It lists ggml's devices on this machine, for which a process is started."""


def fit_of(
    file: StoredFile, available_bytes: int, options: ServeOptions, list_devices: ListDevices = tuple
) -> dict[str, Any]:
    """Return the memory for serving `file` here; `fits` is None for a file that can't be read."""
    try:
        info = read_gguf_info(file.path)
        return fit_of_info(info, available_bytes, options, list_devices)
    except CorralError as error:
        return {
            "kind": None,
            "fits": None,
            "served_context": None,
            "memory_bytes": None,
            "prompt_side_bytes": None,
            "expert_bytes": None,
            "beside_gpu": None,
            "memory": error.message,
        }


def fit_of_info(
    info: GGUFInfo, available_bytes: int, options: ServeOptions, list_devices: ListDevices = tuple
) -> dict[str, Any]:
    """Return the memory for serving a file; `prompt_side_bytes` are the prompt side's. Raises ContextError.

    For the context that each request is to have at least, not one that a worker reduces or lengthens by the
    free memory; without adapters, and as if all of it stayed on the host. `served_context` is the context
    that a worker would choose now. Of a mixture `beside_gpu` tells what a GPU of this machine will have of
    it, None without one.
    """
    pooling = pooling_of(info, options.pooling)
    facts = ModelFacts(info, in_panels=expects_panels(info, options), pooling=pooling)
    placement = place(facts, options, FreeMemory(available_bytes))
    verdict = placement.wanted_verdict
    side = placement.prompt_side if verdict.fits else 0
    more = f"; up to {format_bytes(side)} more for prompts apart (--prompt-side)" if side else ""
    expert_bytes = sum(placement.model.layer_experts)
    beside = None
    if expert_bytes:
        beside = _beside_gpu(place(facts, options, FreeMemory(available_bytes, list_devices())))
        more += f"; {format_bytes(expert_bytes)} are experts"
    if beside is not None:
        more += f"; {beside['text']}"
    return {
        "kind": kind_of(pooling),
        "fits": verdict.fits,
        "served_context": placement.n_ctx,
        "memory_bytes": verdict.needed_bytes,
        "prompt_side_bytes": side,
        "expert_bytes": expert_bytes,
        "beside_gpu": beside,
        "memory": f"{verdict.text}{more}",
    }


def _beside_gpu(placement: Placement) -> dict[str, Any] | None:
    """Return the share of GPUs in a mixture; None if they have none of it."""
    if not placement.gpu_layers:
        return None
    stay_bytes = placement.model.experts_of(placement.cpu_experts)
    layers = f"{placement.gpu_layers} of {placement.model.n_layer + 1} layers go to the GPU"
    experts = f", the experts of {len(placement.cpu_experts)} of them, {format_bytes(stay_bytes)}, stay"
    return {
        "gpu_layers": placement.gpu_layers,
        "cpu_moe_layers": len(placement.cpu_experts),
        "cpu_moe_bytes": stay_bytes,
        "host_bytes": placement.verdict.needed_bytes,
        "text": layers + (experts if placement.cpu_experts else ""),
    }
