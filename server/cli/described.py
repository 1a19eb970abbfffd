"""A stored model as `corral list` and `corral show` tell it: plain dictionaries, for people and programs."""

from __future__ import annotations

from typing import Any

from models.errors import CorralError
from models.fit import estimate, fits_in_memory
from models.gguf_info import GGUFInfo, read_gguf_info
from models.store import StoredFile, StoredModel

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
        info = read_gguf_info(file.path)
        tokens = n_ctx or default_n_ctx(info)
        needs = estimate(info, tokens, n_parallel)
        verdict = fits_in_memory(needs, available_bytes)
    except CorralError as error:
        return {"fits": None, "memory_bytes": None, "memory": error.message}
    return {"fits": verdict.fits, "memory_bytes": verdict.needed_bytes, "memory": verdict.text}


def default_n_ctx(info: GGUFInfo) -> int:
    """The context a request gets when nothing else is said."""
    return min(info.n_ctx_train or DEFAULT_N_CTX, DEFAULT_N_CTX)
