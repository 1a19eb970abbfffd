"""Detection of quantized checkpoints: tensors say whether they are, settings in which form.

`dequantize` is the one place where a raw source becomes one of floats; every way to open a checkpoint goes
through it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.errors import CheckpointError
from quantize.checkpoint.quantized.affine import FLOAT8
from quantize.checkpoint.quantized.awq import awq_layers
from quantize.checkpoint.quantized.bitnet import bitnet_layers
from quantize.checkpoint.quantized.bitsandbytes import bitsandbytes_layers
from quantize.checkpoint.quantized.compressed_tensors import compressed_layers
from quantize.checkpoint.quantized.dequantize import DequantizedSource, Layer
from quantize.checkpoint.quantized.fp8 import fp8_layers
from quantize.checkpoint.quantized.gptq import gptq_layers
from quantize.checkpoint.quantized.hqq import hqq_layers
from quantize.checkpoint.quantized.marlin import is_marlin
from quantize.checkpoint.quantized.modelopt import modelopt_layers
from quantize.checkpoint.quantized.mxfp4 import BLOCKS, mxfp4_layers
from quantize.checkpoint.quantized.nvfp4 import NVFP4_FORMAT, nvfp4_layers
from quantize.checkpoint.quantized.settings import FILES, find_settings
from quantize.checkpoint.quantized.unused import unused_tensors
from quantize.checkpoint.source import TensorEntry, TensorSource

METHODS: Final = (
    "gptq",
    "awq",
    "fp8",
    "compressed-tensors",
    "bitsandbytes",
    "hqq",
    "bitnet",
    "nvfp4",
    "mxfp4",
)

_SIGNS: Final = (
    ".qweight",
    ".qzeros",
    ".weight_packed",
    ".weight_scale",
    ".weight_scale_inv",
    ".weight_scale_2",
    ".qscale_weight",
    ".SCB",
    ".absmax",
    ".quant_map",
    ".W_q",
    ".codebooks",
    ".centroids",
    ".Qidxs",
    ".trellis",
    ".q_weight",
    BLOCKS,
)
"""The endings of names that only quantized checkpoints have."""

_BYTES: Final = ("int8", "uint8")
"""Weights of these dtypes are packed or scaled; masks that models are saved with have them, too."""

_MODELOPT_ALGORITHMS: Final = (
    "FP8",
    "FP8_PER_CHANNEL_PER_TOKEN",
    "FP8_PB_WO",
    "NVFP4",
    "NVFP4_AWQ",
    "W4A16_NVFP4",
    "W4A16_AWQ",
    "W4A8_AWQ",
)
_RECOGNISED: Final = (
    "gptq",
    "awq",
    "fp8",
    "compressed-tensors",
    "bitsandbytes",
    "hqq",
    "fbgemm-fp8",
    "gptq-marlin",
    "awq-marlin",
    "marlin",
    "auto-round",
    "autoround",
    "intel/auto-round",
)
"""The methods whose tensors are known, so that it shows if there are none."""

_AUTO_ROUND: Final[Mapping[str, Mapping[str, str]]] = {
    "auto-round:auto-gptq": {"quant_method": "gptq", "checkpoint_format": "gptq"},
    "auto-round:auto-awq": {"quant_method": "awq", "version": "gemm"},
}
"""The packings of AutoRound that are other methods' own."""

log = logging.getLogger("corral.quantize")


def dequantize(raw: TensorSource, config: Mapping[str, Any], directory: Path) -> TensorSource:
    """Return `raw` itself, or a source around it in which quantized layers are floats.

    Settings that lie beside whole weights, which merges and trainers leave behind, have no effect. Scales of
    activations and of the KV cache are left out. The result owns `raw`, which is closed when this raises.

    Raises CheckpointError: a method that can't be read, settings that contradict the tensors.
    """
    try:
        unused = unused_tensors(raw.entries)
        settings: Mapping[str, Any] | None = find_settings(config, directory)
        sign = _sign(raw.entries, unused)
        if sign is None:
            if settings is not None:
                _accept_whole(settings)
            return DequantizedSource(raw, [], unused) if unused else raw
        settings = _with_packing(settings if settings is not None else _by_tensors(raw, sign))
        layers = _layers(raw, settings)
        if not layers:
            raise CheckpointError(
                f"the settings say that the checkpoint is quantized ({settings['quant_method']}), and "
                f"no tensor is in that form; correct the quantization_config, by which {sign} can't be read"
            )
        return DequantizedSource(raw, layers, unused)
    except BaseException:  # nobody else closes it
        raw.close()
        raise


def _accept_whole(settings: Mapping[str, Any]) -> None:
    """Log that settings have no effect. Raises CheckpointError: a method whose tensors aren't known."""
    method, algorithm = settings["quant_method"], settings.get("quant_algo")
    if method not in _RECOGNISED and (method != "modelopt" or algorithm not in (None, *_MODELOPT_ALGORITHMS)):
        raise _unreadable(settings, ", or remove its quantization_config if all weights are whole")
    log.warning(
        "the settings say that the checkpoint is quantized (%s), and its weights are whole: "
        "they are taken as they are",
        method,
    )


def _sign(entries: Mapping[str, TensorEntry], unused: list[str]) -> str | None:
    """Return the first tensor that shows that the checkpoint is quantized; None if all weights are whole."""
    left_out = set(unused)
    for name, entry in entries.items():
        if name in left_out:
            continue
        is_packed = name.endswith(".weight") and entry.dtype.name in _BYTES
        if is_packed or entry.dtype.name in FLOAT8 or name.endswith(_SIGNS) or is_marlin(entries, name):
            return name
    return None


def _by_tensors(raw: TensorSource, sign: str) -> Mapping[str, Any]:
    """Return the settings of a checkpoint without any: FP8 and MXFP4 say everything themselves."""
    if sign.endswith(BLOCKS):
        return {"quant_method": "mxfp4"}
    if raw.entries[sign].dtype.name in FLOAT8:
        return {"quant_method": "fp8"}
    raise CheckpointError(
        f"the checkpoint is quantized ({sign}), and neither config.json has a quantization_config nor is "
        f"there a {' or '.join(FILES)}; add the one it was published with"
    )


def _with_packing(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return AutoRound's settings as those of the method whose packing it used, others as they are."""
    if settings["quant_method"] not in ("auto-round", "autoround", "intel/auto-round"):
        return settings
    packing = str(settings.get("packing_format")).lower().replace("_", "-")
    if packing not in _AUTO_ROUND:
        raise CheckpointError(
            f"the checkpoint is AutoRound's, packed as {packing[:40]}, and only {' and '.join(_AUTO_ROUND)} "
            "can be read; give one exported as auto_gptq, or the 16-bit model it was made from"
        )
    return {**settings, **_AUTO_ROUND[packing]}


def _layers(raw: TensorSource, settings: Mapping[str, Any]) -> list[Layer]:
    """Return the quantized layers."""
    entries, method = raw.entries, settings["quant_method"]
    if method == "marlin":
        return list(gptq_layers(raw, {"bits": 4, "checkpoint_format": "marlin", **settings}))
    if method in ("gptq", "gptq-marlin"):
        return list(gptq_layers(raw, settings))
    if method in ("awq", "awq-marlin"):
        return list(awq_layers(entries, settings))
    if method in ("fp8", "fbgemm-fp8") or (method.startswith("quark") and _is_fp8(raw)):
        return list(fp8_layers(entries, settings))
    if method == "compressed-tensors" and settings.get("format") == NVFP4_FORMAT:
        return list(nvfp4_layers(entries))
    if method == "mxfp4":
        return list(mxfp4_layers(entries))
    if method == "compressed-tensors":
        return list(compressed_layers(raw, settings))
    if method == "bitsandbytes":
        return list(bitsandbytes_layers(raw))
    if method == "hqq":
        return list(hqq_layers(raw))
    if method == "bitnet":
        return list(bitnet_layers(entries, settings))
    if method.startswith("modelopt") and not _has_int8(raw):
        return modelopt_layers(entries, settings)
    raise _unreadable(settings)


def _unreadable(settings: Mapping[str, Any], or_else: str = "") -> CheckpointError:
    form = " ".join(str(settings[key])[:40] for key in ("quant_method", "quant_algo") if settings.get(key))
    return CheckpointError(
        f"the checkpoint is quantized by {form}, and only {', '.join(METHODS)} can be read; "
        f"give the 16-bit model it was made from{or_else}"
    )


def _has_int8(raw: TensorSource) -> bool:
    """Return whether weights are 8-bit integers or have zeros, of which modelopt's forms are not known."""
    return any(
        name.endswith(".weight_zero_point") or (name.endswith(".weight") and entry.dtype.name == "int8")
        for name, entry in raw.entries.items()
    )


def _is_fp8(raw: TensorSource) -> bool:
    """Return whether all that is packed is FP8 with plain scales, whatever wrote it."""
    return not any(
        name.endswith((".weight_scale_2", ".pre_quant_scale", ".weight_zero_point"))
        or (name.endswith(".weight") and entry.dtype.name in _BYTES)
        for name, entry in raw.entries.items()
    )
