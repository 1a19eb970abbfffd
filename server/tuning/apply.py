"""`TunedModels`: settings that the user has not chosen come from the stored results of `corral tune`.

For `corral serve` and `corral chat`. Flags, environment and settings file win over a result, setting by
setting; a result wins over the defaults.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.quantization_types import TENSOR_TYPES
from server.config import ServerConfig
from server.ipc.launch import SPIN_COUNT, worker_environment
from server.ipc.model_spec import ModelSpec
from server.tuning.result_store import Result, ResultStore
from server.tuning.settings import as_options, words

logger = logging.getLogger("corral.serve")

V_WITHOUT_FLASH = frozenset(
    row.name.lower() for row in TENSOR_TYPES.values() if row.kv_cache and not row.is_quantized
)
"""The V cache can have these types without flash attention."""


class TunedModels:
    """The stored results for one supervisor: each model's is looked up when it is loaded, and logged once."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._reported: set[Path] = set()

    def config_for(self, path: Path, config: ServerConfig) -> ServerConfig:
        """Return `config` with the measured settings for the model at `path` where users set none."""
        result = self._store.find(path)
        if result is None:
            return config
        values = tuned_values(config, result)
        tuned = config.model_copy(update=values)
        if path not in self._reported:
            self._reported.add(path)
            logger.info("%s", report(result, values, spin=tuned.threads == result.settings.threads))
        return tuned

    def environment_of(self, spec: ModelSpec) -> dict[str, str]:
        """Return the environment of a worker for `spec`, with the waiting policy measured for its threads."""
        result = self._store.find(Path(spec.path))
        if result is None or spec.options.threads != result.settings.threads:
            return worker_environment(spec)
        return worker_environment(spec, spin_count=result.settings.spin_count)


def tuned_values(config: ServerConfig, result: Result) -> dict[str, Any]:
    """Return the settings that `result` gives: those that the user left open, if the others allow them."""
    user_set = config.model_fields_set
    left_open = {name: value for name, value in as_options(result.settings).items() if name not in user_set}
    if "threads" in user_set:  # who limits the one means the other too
        left_open.pop("threads_batch", None)
    if config.kernels == "on":  # they are extra buffer types themselves
        left_open.pop("use_extra_bufts", None)
    type_v = left_open.get("type_v", config.type_v)
    flash_attn = left_open.get("flash_attn", config.flash_attn)
    if type_v not in V_WITHOUT_FLASH and flash_attn == "off":
        for name in ("flash_attn", "type_k", "type_v"):
            left_open.pop(name, None)
    return left_open


def report(result: Result, values: Mapping[str, Any], *, spin: bool) -> str:
    """Return a line with the settings that are used because of `result`, its waiting policy if `spin`."""
    defaults = as_options(result.defaults)
    used = {name: value for name, value in values.items() if value != defaults[name]}
    if spin and result.settings.spin_count != SPIN_COUNT:
        used["spin_count"] = result.settings.spin_count
    day = result.created[:10]
    return f"{result.model} runs as tuned here on {day}: {words(used)} (corral tune --show tells more)"
