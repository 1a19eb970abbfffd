"""FP8: weights of 8-bit floats (e4m3 or e5m2), with scales per block, per tensor or per output.

X.weight float8 [n_out, n_in]     X.weight_scale_inv (blocks), X.weight_scale, or Mistral's X.qscale_weight

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

SUFFIXES: Final = (".weight_scale_inv", ".weight_scale", ".qscale_weight")
DEFAULT_BLOCK: Final = (128, 128)
"""The size of blocks where the settings have none, as transformers has it."""


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
        if name.endswith(SUFFIXES) and name not in scaled:
            raise CheckpointError(
                f"tensor {name} {list(entry.shape)} scales no float8 weight; download the checkpoint again"
            )
    return layers


def _layer(entries: Mapping[str, TensorEntry], name: str, block: tuple[int, int] | None) -> ScaledLayer:
    form = f"FP8 with blocks of {list(block)}" if block is not None else "FP8"
    prefix = name.removesuffix(".weight")
    scale_names = [f"{prefix}{suffix}" for suffix in SUFFIXES if f"{prefix}{suffix}" in entries]
    if len(scale_names) != 1:
        which = (
            f"both {' and '.join(scale_names)}"
            if scale_names
            else f"neither {name}_scale_inv nor {name}_scale"
        )
        raise CheckpointError(f"tensor {name} is float8 and has {which}; download the checkpoint again")
    shape = matrix_of(entries, name, FLOAT8, form)
    require_scale(entries[scale_names[0]], form)
    scale = entries[scale_names[0]]
    if scale.n_elements == 1 or scale.shape in ((shape[0],), (shape[0], 1)):
        block = None  # some layers are scaled as a whole or per output where most have blocks
    elif block is None:
        block = DEFAULT_BLOCK
    scales = grid_of(entries, scale.name, shape, block=block, form=form)
    return ScaledLayer(name, shape, (name, scale_names[0]), Plain(name), scales)
