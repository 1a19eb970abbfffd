"""FP8: weights of 8-bit floats (e4m3 or e5m2), with scales per block, per tensor or per output.

X.weight float8 [n_out, n_in]     X.weight_scale_inv (blocks) or X.weight_scale

weight[o, i] = float(X.weight[o, i]) · scale          "inv" is only a name: it is the factor
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.errors import CheckpointError
from quantize.checkpoint.quantized.affine import (
    FLOAT8,
    Plain,
    ScaledLayer,
    grid_of,
    matrix_of,
    require_scale,
    size_pair,
)
from quantize.checkpoint.source import TensorEntry

SUFFIXES: Final = ("_scale_inv", "_scale")
UNUSED_SUFFIXES: Final = (
    ".input_scale",
    ".activation_scale",
    ".output_scale",
    ".k_scale",
    ".v_scale",
    ".q_scale",
)
"""The endings of tensors that scale activations and the KV cache, for which GGUF has no place."""


def fp8_layers(entries: Mapping[str, TensorEntry], settings: Mapping[str, Any]) -> list[ScaledLayer]:
    """Return every float8 weight as a layer. Raises CheckpointError: scales missing or contradicting."""
    block = size_pair(settings.get("weight_block_size"), "weight_block_size")
    layers = [
        _layer(entries, name, block)
        for name, entry in entries.items()
        if name.endswith(".weight") and entry.dtype.name in FLOAT8
    ]
    scaled = {layer.scales.tensor for layer in layers}
    for name, entry in entries.items():
        if name.endswith((".weight_scale", ".weight_scale_inv")) and name not in scaled:
            raise CheckpointError(
                f"tensor {name} {list(entry.shape)} scales no float8 weight; download the checkpoint again"
            )
    return layers


def _layer(entries: Mapping[str, TensorEntry], name: str, block: tuple[int, int] | None) -> ScaledLayer:
    form = f"FP8 with blocks of {list(block)}" if block is not None else "FP8"
    scale_names = [f"{name}{suffix}" for suffix in SUFFIXES if f"{name}{suffix}" in entries]
    if len(scale_names) != 1:
        which = "both" if scale_names else "neither"
        raise CheckpointError(
            f"tensor {name} is float8 and has {which} of {name}_scale_inv and {name}_scale; "
            "download the checkpoint again"
        )
    shape = matrix_of(entries, name, FLOAT8, form)
    require_scale(entries[scale_names[0]], form)
    scales = grid_of(entries, scale_names[0], shape, block=block, form=form)
    return ScaledLayer(name, shape, (name, scale_names[0]), Plain(name), scales)
