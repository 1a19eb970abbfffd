"""Detection of a checkpoint's form of quantization, which its quantization_config names.

`dequantize` is the one place where a raw source becomes one of floats; every way to open a checkpoint goes
through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.errors import CheckpointError
from quantize.checkpoint.json_file import optional_json_object
from quantize.checkpoint.quantized.awq import awq_layers
from quantize.checkpoint.quantized.compressed_tensors import compressed_layers
from quantize.checkpoint.quantized.dequantize import DequantizedSource, Layer
from quantize.checkpoint.quantized.fp8 import UNUSED_SUFFIXES, fp8_layers
from quantize.checkpoint.quantized.gptq import gptq_layers
from quantize.checkpoint.source import TensorSource

METHODS: Final = ("gptq", "awq", "fp8", "compressed-tensors")
OLD_FILES: Final = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
"""The files in which older checkpoints keep the settings, and the method of each."""


def dequantize(raw: TensorSource, config: Mapping[str, Any], directory: Path) -> TensorSource:
    """Return `raw` itself, or a source around it in which quantized layers are floats.

    The result owns `raw`, which is closed when this raises.

    Raises CheckpointError: a method that can't be read, settings that contradict the tensors.
    """
    try:
        settings = _settings(raw, config, directory)
        if settings is None:
            return raw
        layers, unused = _layers(raw, settings)
        if not layers:
            raise CheckpointError(
                f"config.json says that the checkpoint is quantized ({_method(settings)}), and no tensor is; "
                "remove its quantization_config if the weights are whole"
            )
        return DequantizedSource(raw, layers, unused)
    except BaseException:
        raw.close()
        raise


def _settings(raw: TensorSource, config: Mapping[str, Any], directory: Path) -> dict[str, Any] | None:
    for key in ("quantization_config", "compression_config"):
        settings = config.get(key)
        if isinstance(settings, dict) and settings:
            return settings
    packed = next((name for name in raw.entries if name.endswith(".qweight")), None)
    if packed is None:
        return None
    for file_name, method in OLD_FILES.items():
        settings = optional_json_object(directory / file_name)
        if settings is not None:
            return {"quant_method": method, **settings}
    raise CheckpointError(
        f"the checkpoint is quantized ({packed}), and neither config.json has a quantization_config nor is "
        f"there a {' or '.join(OLD_FILES)}; add the one it was published with"
    )


def _method(settings: Mapping[str, Any]) -> str:
    method = settings.get("quant_method")
    if method is None and any(settings.get(key) for key in ("load_in_4bit", "load_in_8bit")):
        return "bitsandbytes"
    return str(method).lower().replace("_", "-")[:60] if method is not None else "an unnamed method"


def _layers(raw: TensorSource, settings: Mapping[str, Any]) -> tuple[list[Layer], list[str]]:
    """Return the quantized layers, and the names of tensors that only a quantized run would need."""
    entries, method = raw.entries, _method(settings)
    unused = [name for name in entries if name.endswith(UNUSED_SUFFIXES)]
    if method == "gptq":
        return list(gptq_layers(entries, settings)), []
    if method == "awq":
        return list(awq_layers(entries, settings)), []
    if method in ("fp8", "fbgemm-fp8") or (method == "modelopt" and settings.get("quant_algo") == "FP8"):
        return list(fp8_layers(entries, settings)), unused
    if method == "compressed-tensors":
        unused += [name for name in entries if name.endswith(".input_zero_point")]
        return list(compressed_layers(raw, settings)), unused
    if method == "bitsandbytes":
        raise CheckpointError(
            "the checkpoint was saved by bitsandbytes, whose nested blocks are not read here; "
            "give the 16-bit model it was made from, usually the base_model of its card"
        )
    raise CheckpointError(
        f"the checkpoint is quantized by {method}, and only {', '.join(METHODS)} can be read; "
        "give the 16-bit model it was made from"
    )
