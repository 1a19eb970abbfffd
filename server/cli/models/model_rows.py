"""A stored model as `corral list` and `corral show` tell it: plain dictionaries, for people and programs."""

from __future__ import annotations

from typing import Any

from models.errors import CorralError
from models.gguf.info import GGUFInfo, read_gguf_info
from models.machine.fit import fits_in_memory, format_bytes
from models.store.store import StoredFile, StoredModel
from server.ipc.model_spec import ModelSpec
from server.supervisor.memory import memory_of

DEFAULT_N_CTX = 4096
DEFAULT_N_PARALLEL = 8


def described_types(model: StoredModel, available_bytes: int) -> list[dict[str, Any]]:
    """One row per type, with `fits` None where the file can't be judged."""
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
            **fit_of(file, available_bytes, None, DEFAULT_N_PARALLEL),
        }
        for file in model.types.values()
    ]


def source_of(model: StoredModel) -> str:
    """`org/name@1a2b3c4d`, `demo`, or a local path."""
    source = model.manifest.source
    if source.kind == "hub":
        return f"{source.repo}@{(source.revision or '')[:8]}" if source.revision else str(source.repo)
    return source.path or source.kind


def fit_of(file: StoredFile, available_bytes: int, n_ctx: int | None, n_parallel: int) -> dict[str, Any]:
    """What serving `file` takes of this machine's memory; `fits` is None for a file that can't be read."""
    try:
        return fit_of_info(read_gguf_info(file.path), available_bytes, n_ctx, n_parallel)
    except CorralError as error:
        return {"fits": None, "memory_bytes": None, "prompt_side_bytes": None, "memory": error.message}


def fit_of_info(info: GGUFInfo, available_bytes: int, n_ctx: int | None, n_parallel: int) -> dict[str, Any]:
    """`prompt_side_bytes`: what the worker takes beside that if it has a prompt side. Raises ContextError.

    Without adapters, and as if all of it stayed on the host.
    """
    spec = ModelSpec(name=info.path.stem, path=str(info.path), n_ctx=n_ctx, n_parallel=n_parallel)
    taken = memory_of(info, spec, available_bytes)
    verdict = fits_in_memory(taken.model, available_bytes)
    side = taken.prompt_side
    more = f"; up to {format_bytes(side)} more for prompts apart (--prompt-side)" if side else ""
    return {
        "fits": verdict.fits,
        "memory_bytes": verdict.needed_bytes,
        "prompt_side_bytes": side,
        "memory": f"{verdict.text}{more}",
    }
