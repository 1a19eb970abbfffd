"""Joins a loaded model with its kept prefixes: opened after loading, filled when the worker ends."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from models.errors import CorralError
from models.gguf.info import GGUFInfo
from models.llamacpp.context import Context
from models.machine.fit import GIB
from server.engine.engine import Engine
from server.ipc.model_spec import ModelSpec
from server.worker.adapter_set import AdapterSet
from server.worker.prefix.file import Bounds
from server.worker.prefix.key import context_key
from server.worker.prefix.store import PrefixStore, StoreSettings
from server.worker.run.runner import LlamaRunner

logger = logging.getLogger("corral.worker")

SAVE_S = 5.0
"""Saving may delay the worker's end by this many seconds."""
AFTER_GRACE_S = 1.5
"""Saving may go on for this many seconds when requests have used up the time they had to finish; the worker's
parent waits longer."""


def open_prefixes(
    spec: ModelSpec,
    info: GGUFInfo,
    kv_bytes_per_token: float,
    context: Context,
    runner: LlamaRunner,
    adapters: AdapterSet,
) -> PrefixStore | None:
    """The store of this model's prefixes, joined to its warm `runner`; None if there is none.

    A folder that can't be used is logged: the model is served without.
    """
    options = spec.options
    max_bytes = int(options.prefix_cache_gib * GIB)
    if spec.prefix_folder is None or max_bytes <= 0:
        return None
    try:
        settings = StoreSettings(
            key=context_key(info.paths, context, (options.type_k, options.type_v, options.flash_attn)),
            bounds=Bounds(runner.n_ctx, runner.n_vocab),
            bytes_per_token=kv_bytes_per_token,
            max_bytes=max_bytes,
            can_trim=runner.can_trim,
            n_swa=runner.n_swa,
            adapters_key=adapters.key,
        )
        store = PrefixStore(Path(spec.prefix_folder), settings)
    except CorralError as error:
        logger.warning("%s is served without kept prefixes: %s", spec.name, error.message)
        return None
    runner.use_states(store)
    return store


def save_leftovers(engine: Engine, runner: LlamaRunner, store: PrefixStore, grace_end_s: float) -> None:
    """Keep what is worth it of what the KV cache holds, the latest used first. For the worker's end: no
    request is left. `grace_end_s`: when the time that requests had is over (time.monotonic)."""
    until_s = min(time.monotonic() + SAVE_S, grace_end_s + AFTER_GRACE_S)
    for kept in engine.leftovers():
        if time.monotonic() >= until_s:
            break
        runner.save(kept)
        if not store.flush(until_s - time.monotonic()):
            break
    store.close()
