"""NVFP4: floats of 4 bits (e2m1), two to a byte, in groups of 16 with a scale each, and one over all.

modelopt             X.weight uint8 [n_out, n_in / 2]         X.weight_scale_2       a factor
compressed-tensors   X.weight_packed                          X.weight_global_scale  a divisor
both                 X.weight_scale float8_e4m3 [n_out, n_in / 16]

weight = e2m1(number) · weight_scale · factor                 the first number of a byte is in its low half

ggml's blocks hold the same numbers: four scales, then of each 16 numbers the bytes of number i and number
i + 8. They have no place for the factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from quantize.checkpoint.quantized.affine import floats
from quantize.checkpoint.quantized.dequantize import FLOATS, contradiction, require
from quantize.checkpoint.source import TensorEntry, TensorSource

GROUP: Final = 16
VALUES: Final = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
"""The float32 that each number means."""

NVFP4_FORMAT: Final = "nvfp4-pack-quantized"
"""The `format` of compressed-tensors that means this."""

_FORM: Final = "NVFP4"
GGML_TYPE: Final = GGML_TYPES[_FORM]

_SCALES: Final = 4
"""The scales of a block of ggml's."""
_SIGN: Final = np.uint8(0x80)
_NOT_A_NUMBER: Final = 0x7F


@dataclass(frozen=True)
class NVFP4Layer:
    """One linear layer; `is_divisor` tells how its scale over all counts."""

    name: str
    shape: tuple[int, int]
    packed: str
    scales: str
    over_all: str
    is_divisor: bool
    ggml_type: int = GGML_TYPE

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.packed, self.scales, self.over_all)

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        raw = source.rows(self.packed, start, stop)
        values = np.take(VALUES, np.stack([raw & 15, raw >> 4], axis=-1).reshape(stop - start, -1))
        one = self._over_all(source)
        scales = floats(source.rows(self.scales, start, stop))
        scales = scales / one if self.is_divisor else scales * one
        values *= np.repeat(scales, GROUP, axis=1)
        return values

    def raw_rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Return rows [start, stop) as ggml's blocks, of inputs that make whole ones.

        Raises CheckpointError: a scale below zero or that isn't a number, for which they have no place.
        """
        scales = source.rows(self.scales, start, stop).view(np.uint8)
        if (scales > _SIGN).any() or (scales == _NOT_A_NUMBER).any():
            raise CheckpointError(
                f"tensor {self.scales} has scales below zero or that aren't numbers, for which NVFP4 files "
                "have no place; choose another type"
            )
        n_blocks = scales.shape[1] // _SCALES
        made = np.empty((stop - start, n_blocks, _SCALES + _SCALES * GROUP // 2), np.uint8)
        made[..., :_SCALES] = scales.reshape(stop - start, n_blocks, _SCALES) & ~_SIGN
        raw = source.rows(self.packed, start, stop).reshape(stop - start, n_blocks, _SCALES, 2, GROUP // 4)
        first, second = raw[..., 0, :], raw[..., 1, :]
        pairs = np.empty((*first.shape, 2), np.uint8)
        pairs[..., 0] = first & 15 | second << 4
        pairs[..., 1] = first >> 4 | second & 0xF0
        made[..., _SCALES:] = pairs.reshape(stop - start, n_blocks, -1)
        return made.reshape(stop - start, -1)

    def second_scale(self, source: TensorSource) -> np.float32:
        """Return the factor."""
        one = self._over_all(source)
        return np.float32(1) / one if self.is_divisor else one

    def _over_all(self, source: TensorSource) -> np.float32:
        return np.float32(source.rows(self.over_all, 0, 1).astype(np.float32).reshape(-1)[0])


def nvfp4_layers(entries: Mapping[str, TensorEntry]) -> list[NVFP4Layer]:
    """Return every packed weight as a layer. Raises CheckpointError: tensors that contradict each other."""
    layers = []
    for name, entry in entries.items():
        if name.endswith(".weight") and entry.dtype.name == "uint8":
            layers.append(_layer(entries, name, name, "weight_scale_2", is_divisor=False))
        elif name.endswith(".weight_packed"):
            weight = name.removesuffix("_packed")
            layers.append(_layer(entries, weight, name, "weight_global_scale", is_divisor=True))
    return layers


def _layer(
    entries: Mapping[str, TensorEntry], name: str, packed: str, over_all: str, *, is_divisor: bool
) -> NVFP4Layer:
    entry, prefix = entries[packed], name.removesuffix(".weight")
    if len(entry.shape) != 2 or entry.dtype.name != "uint8" or entry.shape[1] * 2 % GROUP:
        raise contradiction(packed, entry, f"bytes of whole groups of {GROUP}", _FORM)
    shape = (entry.shape[0], entry.shape[1] * 2)
    scales, one = f"{prefix}.weight_scale", f"{prefix}.{over_all}"
    require(entries, scales, (shape[0], shape[1] // GROUP), ("float8_e4m3fn",), _FORM)
    require(entries, one, entries[one].shape if one in entries else (1,), FLOATS, _FORM)
    if entries[one].n_elements != 1:
        raise contradiction(one, entries[one], "one number", _FORM)
    return NVFP4Layer(name, shape, packed, scales, one, is_divisor)
