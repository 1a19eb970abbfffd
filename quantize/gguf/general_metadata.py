"""The `general.` keys of GGUF: name, author, licence, tags … from the model card; sampling defaults.

The heuristics (which part of "Llama-3.1-8B-Instruct" is the version, which the size) are a convention of the
GGUF world, so its own package does them, and the names agree with everyone else's files.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeGuard

from models.errors import CheckpointError
from quantize.checkpoint.json_file import optional_json_object
from quantize.gguf.header import Metadata, Value, ValueType, array, float32, int32, string
from quantize.gguf.parameter_count import ParameterCount

CARD_LIMIT_BYTES: Final = 4 * 2**20
"""A larger model card is ignored."""

SAMPLING: Final[Mapping[str, tuple[str, ValueType]]] = {
    "top_k": ("top_k", ValueType.INT32),
    "top_p": ("top_p", ValueType.FLOAT32),
    "min_p": ("min_p", ValueType.FLOAT32),
    "xtc_probability": ("xtc_probability", ValueType.FLOAT32),
    "xtc_threshold": ("xtc_threshold", ValueType.FLOAT32),
    "temperature": ("temp", ValueType.FLOAT32),
    "repetition_penalty": ("penalty_repeat", ValueType.FLOAT32),
    "penalty_last_n": ("penalty_last_n", ValueType.INT32),
    "penalty_repeat": ("penalty_repeat", ValueType.FLOAT32),
    "mirostat": ("mirostat", ValueType.INT32),
    "mirostat_tau": ("mirostat_tau", ValueType.FLOAT32),
    "mirostat_eta": ("mirostat_eta", ValueType.FLOAT32),
}
"""The key under `general.sampling.` and its type, for each field of generation_config.json."""

log = logging.getLogger("corral.quantize")


def general_metadata(
    directory: Path, config: Mapping[str, Any], name: str | None, parameters: ParameterCount
) -> Metadata:
    """Return the keys that don't depend on the type.

    `name` is `org/name` or a plain name; without it the folder's name counts. A broken model card or
    generation_config.json costs its own keys only.
    """
    folder = Path(name.rsplit("/", 1)[-1]) if name else directory
    origin = name if name and "/" in name else config.get("_name_or_path")
    hints = {"_name_or_path": origin} if isinstance(origin, str) else {}
    try:
        keys = _card_metadata(model_card(directory), hints, folder, parameters)
    except Exception as error:  # noqa: BLE001  a stranger's YAML meets code that doesn't expect it
        log.warning("the model card of %s can't be used: %s", directory, error)
        keys = _card_metadata({}, hints, folder, parameters)
    return {"general.type": string("model"), **_sampling(directory), **keys}


def _card_metadata(
    card: dict[str, Any], hints: dict[str, Any], folder: Path, parameters: ParameterCount
) -> Metadata:
    """Return the keys that the gguf package derives from a model card, config.json and a folder's name."""
    import gguf  # 0.2 s to import, and needed only here

    metadata = gguf.Metadata.apply_metadata_heuristic(gguf.Metadata(), card, hints, folder, parameters.total)
    if not metadata.name:
        metadata.name = folder.name
    if metadata.size_label is None:
        metadata.size_label = gguf.size_label(
            parameters.total, parameters.shared, parameters.per_expert, parameters.n_experts
        )
    collected = gguf.GGUFWriter(path=None, arch="")
    metadata.set_gguf_meta_model(collected)
    keys: Metadata = {}
    for key, item in collected.kv_data[0].items():
        value = _plain_value(item.value)
        if value is not None and key != "general.architecture":
            keys[key] = value
    return keys


def model_card(directory: Path) -> dict[str, Any]:
    """Return the head of a folder's model card; empty where there is none, or too long a one."""
    import gguf

    card = directory / "README.md"
    if not card.is_file() or card.stat().st_size > CARD_LIMIT_BYTES:
        return {}
    front: dict[str, Any] = gguf.Metadata.load_model_card(directory)
    return front


def _plain_value(value: Any) -> Value | None:
    """Return text, lists of text and counts as values; nothing else of a card is meant for these keys."""
    if isinstance(value, str):
        return string(value)
    if type(value) is int and 0 <= value < 2**32:
        return Value(ValueType.UINT32, value)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return array(ValueType.STRING, value)
    return None


def _sampling(directory: Path) -> Metadata:
    """Return the keys of the sampling that the model's makers recommend."""
    try:
        settings = optional_json_object(directory / "generation_config.json") or {}
    except CheckpointError as error:
        log.warning("%s", error.message)
        return {}
    keys: Metadata = {}
    for setting, (key, kind) in SAMPLING.items():
        value = settings.get(setting)
        if kind is ValueType.INT32 and type(value) is int and -(2**31) <= value < 2**31:
            keys[f"general.sampling.{key}"] = int32(value)
        elif kind is ValueType.FLOAT32 and _is_number(value) and abs(value) < 3e38:
            keys[f"general.sampling.{key}"] = float32(value)
    return keys


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
