"""How a file is loaded under a configuration. Pure."""

from __future__ import annotations

from pathlib import Path

from server.config import ServerConfig
from server.ipc.model_spec import ModelSpec
from server.supervisor.catalogue import CatalogueEntry
from server.supervisor.policy import Policy


def model_spec(
    entry: CatalogueEntry, config: ServerConfig, draft: Path | None = None, prefixes: Path | None = None
) -> ModelSpec:
    """What the worker for `entry` is started with; the configured prompt format wins over the model's own.

    `draft`: the file of its draft model. `prefixes`: the folder of kept prefixes.
    """
    return ModelSpec(
        name=entry.name,
        path=str(entry.path),
        n_ctx=config.ctx,
        n_parallel=config.parallel,
        n_gpu_layers=config.gpu_layers,
        n_batch=config.n_batch,
        n_ubatch=config.n_ubatch,
        prefill_chunk_tokens=config.prefill_chunk_tokens,
        gap_s=config.gap_ms / 1e3,
        speculate=config.speculate,
        draft_path=None if draft is None else str(draft),
        draft_max=config.draft_max,
        n_threads=config.threads,
        n_threads_batch=config.threads_batch,
        kv_unified=config.kv_unified,
        flash_attn=config.flash_attn,
        type_k=config.type_k,
        type_v=config.type_v,
        use_mmap=config.use_mmap,
        use_mlock=config.use_mlock,
        use_extra_bufts=config.use_extra_bufts,
        prompt_side=config.prompt_side,
        device_sampling=config.device_sampling,
        queue_size=config.queue_size,
        prefix_folder=None if prefixes is None else str(prefixes),
        prefix_bytes_max=int(config.prefix_cache_gib * 2**30),
        prompt_format=config.prompt_format or entry.prompt_format,
    )


def policy_of(config: ServerConfig) -> Policy:
    return Policy(
        load_wait_s=config.load_wait_s,
        max_waiting=config.queue_size + config.parallel,
        max_loaded=config.max_loaded,
    )
