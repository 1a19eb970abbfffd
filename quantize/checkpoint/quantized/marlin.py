"""Marlin's layout of GPTQ and AWQ: 4 bits, a scale per group, in the order of a GPU's threads.

GPTQ   X.B       int32 [n_in / 16, 2 · n_out]   X.s       [n_groups, n_out]
AWQ    X.qweight, the same                       X.scales, the same

weight[o, i] = scales[g_i, o] · (q[i, o] − 8)

128 words hold 16 inputs of 64 outputs: of four tiles of 16 by 16, what each of 32 threads multiplies with.
Scales of 64 outputs are the rows of their 8 by 8 as columns; of a whole column, 32 outputs in another order.
As https://github.com/IST-DASLab/marlin has it, and the packings of AutoGPTQ and AutoAWQ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.quantized.bit_packing import unpack_dense
from quantize.checkpoint.quantized.dequantize import FLOATS, contradiction, require
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource

TILE: Final = 16
OUTPUTS: Final = 64
"""So many outputs have words of their own."""

_WORDS: Final = TILE * OUTPUTS // 8
_MIDDLE: Final = 8


def _places() -> npt.NDArray[np.intp]:
    """Return where each number of 128 words is among four tiles [tile, input, output] of 16 by 16."""
    thread, tile, half, number = np.ogrid[:32, :4, :2, :4]
    row = 2 * (thread % 4) + 8 * (number // 2) + number % 2
    column = thread // 4 + 8 * half
    eights = (TILE * TILE * tile + TILE * row + column).reshape(-1, 8)
    return np.argsort(eights[:, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(-1))


_NUMBER_OF: Final = _places()
"""The number of the words that each number of the tiles is."""


@dataclass(frozen=True)
class MarlinLayer:
    """One linear layer. `packed`, `scales`: the names of its tensors."""

    name: str
    shape: tuple[int, int]
    packed: str
    scales: str
    n_groups: int

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.packed, self.scales)

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        first, last = start // OUTPUTS, -(-stop // OUTPUTS)
        words = source.columns(self.packed, first * _WORDS, last * _WORDS)
        numbers = unpack_dense(np.ascontiguousarray(words), 4).reshape(len(words), last - first, -1)
        tiles = numbers[..., _NUMBER_OF].reshape(len(words), last - first, OUTPUTS // TILE, TILE, TILE)
        weights = tiles.transpose(1, 2, 4, 0, 3).reshape((last - first) * OUTPUTS, -1).astype(np.float32)
        weights -= np.float32(_MIDDLE)
        scales = self._in_order(source.columns(self.scales, first * OUTPUTS, last * OUTPUTS))
        weights *= np.repeat(scales.T.astype(np.float32), self.shape[1] // self.n_groups, axis=1)
        return weights[start - first * OUTPUTS : stop - first * OUTPUTS]

    def _in_order(self, scales: Rows) -> Rows:
        """Return scales [n_groups, n] in the order of the outputs."""
        if self.n_groups == 1:
            return scales.reshape(-1, 4, 4, 2).swapaxes(1, 2).reshape(scales.shape)
        return scales.reshape(self.n_groups, -1, 8, 8).swapaxes(2, 3).reshape(scales.shape)


def is_marlin(entries: Mapping[str, TensorEntry], name: str) -> bool:
    """Return whether the tensor is a layer's numbers by the name that Marlin's own layers have for them."""
    return name.endswith(".B") and entries[name].dtype.name == "int32"


def marlin_layers(entries: Mapping[str, TensorEntry], bits: int, group_size: int) -> list[MarlinLayer]:
    """Return every layer that is in Marlin's layout. Raises CheckpointError: not 4 bits, other shapes."""
    if bits != 4:
        raise CheckpointError(
            f"the quantization_config says {bits} bits, and only 4 can be read in Marlin's layout; "
            "give one in plain gptq"
        )
    layers = []
    for name in entries:
        if is_marlin(entries, name):
            layers.append(_layer(entries, name[:-2], "B", "s", group_size))
        elif name.endswith(".qweight"):
            prefix = name.removesuffix(".qweight")
            if f"{prefix}.qzeros" in entries:
                raise CheckpointError(
                    "the checkpoint is packed for the marlin kernel by its settings, and "
                    f"{prefix}.qzeros isn't; correct the quantization_config"
                )
            layers.append(_layer(entries, prefix, "qweight", "scales", group_size))
    return layers


def _layer(
    entries: Mapping[str, TensorEntry], prefix: str, packed: str, scales: str, group_size: int
) -> MarlinLayer:
    name = f"{prefix}.{packed}"
    entry, form = entries[name], f"Marlin's layout with groups of {group_size}"
    if (
        len(entry.shape) != 2
        or entry.dtype.name != "int32"
        or not all(entry.shape)
        or entry.shape[1] % _WORDS
    ):
        raise contradiction(name, entry, f"int32 [n_in / {TILE}, 2 · n_out], of {OUTPUTS} outputs each", form)
    n_out, n_in = entry.shape[1] // 2, entry.shape[0] * TILE
    size = n_in if group_size == -1 else group_size
    if size < 1 or n_in % size:
        raise contradiction(name, entry, f"inputs that {size} divides", form)
    require(entries, f"{prefix}.{scales}", (n_in // size, n_out), FLOATS, form)
    return MarlinLayer(f"{prefix}.weight", (n_out, n_in), name, f"{prefix}.{scales}", n_in // size)
