"""FP8: weights of 8-bit floats (e4m3 or e5m2), with scales per block, per tensor or per output.

X.weight float8 [n_out, n_in]     X.weight_scale_inv, X.weight_scale, Mistral's X.qscale_weight, or X.scale
X        float8 [n_experts, n_out, n_in]                    X_scale_inv or X_scale, of each expert its own

weight[o, i] = float(X.weight[o, i]) · scale          "inv" is only a name: it is the factor
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.quantized.affine import (
    FLOAT8,
    Plain,
    ScaledLayer,
    factors,
    floats,
    grid_of,
    matrix_of,
    require_scale,
    size_pair,
)
from quantize.checkpoint.quantized.dequantize import contradiction
from quantize.checkpoint.source import TensorEntry, TensorSource

SUFFIXES: Final = (".weight_scale_inv", ".weight_scale", ".qscale_weight", ".scale")
FUSED_SUFFIXES: Final = ("_scale_inv", "_scale")
DEFAULT_BLOCK: Final = (128, 128)
"""The size of blocks where the settings have none, as transformers has it."""

_EXPONENTS: Final = "uint8"
"""Scales of this dtype are the bytes of float8_e8m0fnu."""


@dataclass(frozen=True)
class FP8Experts:
    """The weights of a mixture's experts in one tensor, with a grid of scales for each expert."""

    name: str
    scale: str
    shape: tuple[int, int, int]
    block: tuple[int, int]

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.name, self.scale)

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return experts [start, stop): `[stop - start, n_out, n_in]`."""
        _, n_out, n_in = self.shape
        values = floats(source.rows(self.name, start, stop))
        grid = factors(source.rows(self.scale, start, stop))
        grid = grid.reshape(stop - start, -(-n_out // self.block[0]), -(-n_in // self.block[1]))
        of_rows = np.repeat(grid, self.block[0], axis=1)[:, :n_out]
        values *= np.repeat(of_rows, self.block[1], axis=2)[:, :, :n_in]
        return values


def fp8_layers(
    entries: Mapping[str, TensorEntry], settings: Mapping[str, Any]
) -> list[ScaledLayer | FP8Experts]:
    """Return every float8 weight as a layer. Raises CheckpointError: scales missing or contradicting."""
    block = size_pair(settings.get("weight_block_size"), "weight_block_size")
    layers: list[ScaledLayer | FP8Experts] = []
    for name, entry in entries.items():
        if entry.dtype.name in FLOAT8 and len(entry.shape) == 3:
            layers.append(_experts(entries, name, block))
        elif entry.dtype.name in FLOAT8 and name.endswith(".weight"):
            layers.append(_layer(entries, name, block))
    scaled = {part for layer in layers for part in layer.parts}
    for name, entry in entries.items():
        if name.endswith(SUFFIXES[:3]) and name not in scaled:
            raise CheckpointError(
                f"tensor {name} {list(entry.shape)} scales no float8 weight; download the checkpoint again"
            )
    return layers


def _layer(entries: Mapping[str, TensorEntry], name: str, block: tuple[int, int] | None) -> ScaledLayer:
    form = _form(block)
    scale = _scale_of(entries, name, form)
    shape = matrix_of(entries, name, FLOAT8, form)
    if scale.n_elements == 1 or scale.shape in ((shape[0],), (shape[0], 1)):
        block = None  # some layers are scaled as a whole or per output where most have blocks
    elif block is None:
        block = _implied_block(shape, scale.shape)
    scales = grid_of(entries, scale.name, shape, block=block, form=form)
    return ScaledLayer(name, shape, (name, scale.name), Plain(name), scales)


def _experts(entries: Mapping[str, TensorEntry], name: str, block: tuple[int, int] | None) -> FP8Experts:
    form = _form(block)
    scale, (n_experts, n_out, n_in) = _scale_of(entries, name, form), entries[name].shape
    if scale.shape in ((n_experts,), (n_experts, 1), (n_experts, 1, 1)):
        block = (n_out, n_in)
    elif scale.shape in ((n_experts, n_out), (n_experts, n_out, 1)):
        block = (1, n_in)
    elif scale.shape == (n_experts, 1, n_in):
        block = (n_out, 1)
    elif block is None:
        block = _implied_block((n_out, n_in), scale.shape[1:])
    expected = (n_experts, -(-n_out // block[0]), -(-n_in // block[1]))
    if scale.n_elements != math.prod(expected) or scale.shape[:1] != expected[:1]:
        raise contradiction(scale.name, scale, f"{list(expected)}", form)
    return FP8Experts(name, scale.name, (n_experts, n_out, n_in), block)


def _form(block: tuple[int, int] | None) -> str:
    return f"FP8 with blocks of {list(block)}" if block is not None else "FP8"


def _scale_of(entries: Mapping[str, TensorEntry], name: str, form: str) -> TensorEntry:
    prefix = name.removesuffix(".weight")
    suffixes: tuple[str, ...] = FUSED_SUFFIXES if prefix == name else SUFFIXES
    names = [f"{prefix}{suffix}" for suffix in suffixes if f"{prefix}{suffix}" in entries]
    if len(names) != 1:
        which = f"both {' and '.join(names)}" if names else f"neither {name}_scale_inv nor {name}_scale"
        raise CheckpointError(f"tensor {name} is float8 and has {which}; download the checkpoint again")
    if entries[names[0]].dtype.name != _EXPONENTS:
        require_scale(entries[names[0]], form)
    return entries[names[0]]


def _implied_block(shape: tuple[int, int], grid: tuple[int, ...]) -> tuple[int, int]:
    """Return the size of blocks that no setting says: the usual one, else the one that fits the grid."""
    usual = tuple(-(-size // block) for size, block in zip(shape, DEFAULT_BLOCK, strict=True))
    if grid != usual and len(grid) == 2 and all(grid) and not (shape[0] % grid[0] or shape[1] % grid[1]):
        return shape[0] // grid[0], shape[1] // grid[1]
    return DEFAULT_BLOCK
