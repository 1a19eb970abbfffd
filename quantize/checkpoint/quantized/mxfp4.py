"""MXFP4: all experts' matrices in 4-bit floats, each 32 of them with a power of two as their scale.

X_blocks   uint8 [n_experts, n_out, n_in / 32, 16]    two numbers per byte, the lower half first
X_scales   uint8 [n_experts, n_out, n_in / 32]        exponents: the byte less 127

X.weight[e, o, 32·b + i] = number · 2^(scale - 127), of 0, ½, 1, 1½, 2, 3, 4, 6 and their negatives

ggml's blocks hold the same numbers: the scale's byte, then bytes of number i and number i + 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from quantize.checkpoint.quantized.dequantize import contradiction, require
from quantize.checkpoint.source import TensorEntry, TensorSource

BLOCKS: Final = "_blocks"
SCALES: Final = "_scales"
FORM: Final = "MXFP4"
GGML_TYPE: Final = GGML_TYPES["MXFP4"]

_BLOCK: Final = 32
_BYTES: Final = ("uint8",)
_NOT_A_NUMBER: Final = 255


@dataclass(frozen=True)
class MXFP4Experts:
    """One matrix of each expert: `name` [n_experts, n_out, n_in], from blocks and scales."""

    name: str
    blocks: str
    scales: str
    shape: tuple[int, int, int]
    ggml_type: int = GGML_TYPE

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.blocks, self.scales)

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return experts [start, stop): `[stop - start, n_out, n_in]`."""
        _, n_out, n_in = self.shape
        decoded = dequantize_rows(GGML_TYPE, self.raw_rows(source, start, stop), n_in)
        return decoded.reshape(stop - start, n_out, n_in)

    def raw_rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Return experts [start, stop) as ggml's blocks: `[stop - start, n_out, bytes of a row]`.

        Raises CheckpointError: a scale that isn't a number.
        """
        scales = source.rows(self.scales, start, stop)
        if (scales == _NOT_A_NUMBER).any():
            raise CheckpointError(f"tensor {self.scales} has scales that aren't numbers; download it again")
        blocks = source.rows(self.blocks, start, stop)
        numbers = np.empty((*blocks.shape[:-1], _BLOCK), np.uint8)
        np.bitwise_and(blocks, 15, out=numbers[..., ::2])
        np.right_shift(blocks, 4, out=numbers[..., 1::2])
        made = np.empty((*scales.shape, 1 + _BLOCK // 2), np.uint8)
        made[..., 0] = scales
        np.left_shift(numbers[..., _BLOCK // 2 :], 4, out=made[..., 1:])
        made[..., 1:] |= numbers[..., : _BLOCK // 2]
        return made.reshape(*made.shape[:2], -1)


def mxfp4_layers(entries: Mapping[str, TensorEntry]) -> list[MXFP4Experts]:
    """Return every pair of blocks and scales as a layer. Raises CheckpointError: a part without the other."""
    layers: list[MXFP4Experts] = []
    for name, entry in entries.items():
        if not name.endswith(BLOCKS):
            continue
        if len(entry.shape) != 4 or entry.shape[-1] != _BLOCK // 2:
            raise contradiction(name, entry, "[experts, outputs, blocks, 16]", FORM)
        require(entries, name, entry.shape, _BYTES, FORM)
        prefix = name.removesuffix(BLOCKS)
        require(entries, f"{prefix}{SCALES}", entry.shape[:3], _BYTES, FORM)
        n_experts, n_out, n_blocks, _ = entry.shape
        shape = (n_experts, n_out, n_blocks * _BLOCK)
        layers.append(MXFP4Experts(f"{prefix}.weight", name, f"{prefix}{SCALES}", shape))
    return layers
