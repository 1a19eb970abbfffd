"""The settings of a quantized checkpoint, wherever they were published, in one form.

config.json                      quantization_config, or older compression_config; in text_config of some
quantize_config.json             of GPTQ, sometimes of AWQ
quant_config.json                of AWQ
hf_quant_config.json             of modelopt, under "quantization"

The first of them counts; what it leaves out is taken from the others of the same method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from quantize.checkpoint.json_file import optional_json_object

FILES: Final = {
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
    "hf_quant_config.json": "modelopt",
}
"""The files beside config.json that have settings, and the method of each where it doesn't say."""

_KEYS: Final = ("quantization_config", "compression_config")
_INNER_CONFIGS: Final = ("text_config", "llm_config", "language_config")
_AWQ_FIELDS: Final = ("w_bit", "q_group_size", "zero_point")
_FP8_FIELDS: Final = ("weight_block_size", "activation_scheme")
_METHOD_LIMIT: Final = 60


def find_settings(config: Mapping[str, Any], directory: Path) -> dict[str, Any] | None:
    """Return the settings, with `quant_method` in small letters and with hyphens; None where there are none.

    Raises CheckpointError: a file of settings that can't be read.
    """
    found = [_unnested(settings) for settings in _inside(config)]
    for name, method in FILES.items():
        settings = optional_json_object(directory / name)
        if settings:
            unnested = _unnested(settings)
            found.append(unnested if _method(unnested) is not None else unnested | {"quant_method": method})
    if not found:
        return None
    first, *others = found
    method = _method(first) or "an unnamed method"
    merged: dict[str, Any] = {}
    for settings in reversed([first, *(other for other in others if _method(other) == method)]):
        merged |= {key: value for key, value in settings.items() if value is not None}
    return merged | {"quant_method": method}


def _inside(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    inner = (config.get(name) for name in _INNER_CONFIGS)
    for holder in (config, *(value for value in inner if isinstance(value, dict))):
        for key in _KEYS:
            settings = holder.get(key)
            if isinstance(settings, dict) and settings:
                yield settings


def _unnested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Lift what compressed-tensors and modelopt keep one level deeper."""
    flat = dict(settings)
    for key in ("quantization_config", "quantization"):
        nested = flat.pop(key, None)
        if isinstance(nested, dict):
            method = {"quant_method": "modelopt"} if key == "quantization" else {}
            flat = method | nested | flat
    return flat


def _method(settings: Mapping[str, Any]) -> str | None:
    """Return the method by its name, else by the fields that only it has."""
    named = settings.get("quant_method") or settings.get("method")
    if named is not None:
        return str(named).lower().replace("_", "-")[:_METHOD_LIMIT]
    if any(settings.get(key) for key in ("load_in_4bit", "load_in_8bit")):
        return "bitsandbytes"
    if "config_groups" in settings:
        return "compressed-tensors"
    if "quant_algo" in settings:
        return "modelopt"
    if any(key in settings for key in _AWQ_FIELDS) or "version" in settings:
        return "awq"
    if any(key in settings for key in _FP8_FIELDS):
        return "fp8"
    return "gptq" if "bits" in settings else None
