"""The kept prefixes of a served model: opened while it is loaded, filled when the worker ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from models.errors import CorralError
from models.gguf.info import GGUFInfo
from models.llamacpp.context import Context
from models.machine.fit import GIB
from server.engine.batch import Adapters
from server.engine.engine import Engine
from server.engine.runner import ModelRunner
from server.ipc.model_spec import ModelSpec
from server.placement.placement import Placement
from server.worker.prefix.file import Bounds
from server.worker.prefix.key import context_key
from server.worker.prefix.store import PrefixStore, StoreSettings

logger = logging.getLogger("corral.worker")

SAVE_S = 5.0
"""Saving may delay the worker's end by this many seconds."""
AFTER_GRACE_S = 1.5
"""Saving may go on for this many seconds after the requests' time to finish; the parent waits longer."""


def open_prefixes(
    spec: ModelSpec,
    info: GGUFInfo,
    placement: Placement,
    context: Context,
    *,
    can_trim: bool,
    adapters_key: Callable[[Adapters], bytes],
) -> PrefixStore | None:
    """Open the store of the prefixes of a model; None if the settings want none.

    `can_trim`: a slot can be cut back to a prefix. `adapters_key`: as in `StoreSettings`. A folder that can't
    be used is logged: the model is served without.
    """
    options = spec.options
    max_bytes = int(options.prefix_cache_gib * GIB)
    if spec.prefix_folder is None or max_bytes <= 0:
        return None
    try:
        settings = StoreSettings(
            key=kept_key(spec, info, context),
            model=info.path,
            bounds=Bounds(placement.n_ctx, context.n_vocab),
            bytes_per_token=placement.kv_bytes_per_token,
            max_bytes=max_bytes,
            can_trim=can_trim,
            n_swa=context.model.n_swa,
            adapters_key=adapters_key,
        )
        return PrefixStore(Path(spec.prefix_folder), settings)
    except CorralError as error:
        logger.warning("%s is served without kept prefixes: %s", spec.name, error.message)
        return None


def kept_key(spec: ModelSpec, info: GGUFInfo, context: Context) -> bytes:
    """Return the key of this model's states, see `context_key`. Raises StoreError."""
    options = spec.options
    return context_key(info.paths, context, (options.type_k, options.type_v, options.flash_attn))


def save_leftovers(engine: Engine, runner: ModelRunner, store: PrefixStore, grace_end_s: float) -> None:
    """Keep what is worth it of what the KV cache holds, the latest used first. For the worker's end: no
    request is left. `grace_end_s`: the time.monotonic at which the time that requests had is over."""
    until_s = min(time.monotonic() + SAVE_S, grace_end_s + AFTER_GRACE_S)
    for kept in engine.leftovers():
        if time.monotonic() >= until_s:
            break
        runner.save(kept)
        if not store.flush(until_s - time.monotonic()):
            break
    store.close()
