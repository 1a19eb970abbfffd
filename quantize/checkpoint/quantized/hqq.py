"""HQQ: weights of 1 to 8 bits in groups along either axis, with scales and zeros.

X.W_q                 numbers of a matrix [n_rows, n_columns] whose rows, or columns, are groups
X.scale, X.zero       one of each for a group: [n_rows, 1] with the axis 1, [1, n_columns] with 0
X.nbits, .group_size, .shape, .axis, .packing, .view_as_float …   a tensor for each setting

Packing puts the rows of several parts of the matrix, one below the other, into one number: of bytes the first
part is in the highest bits; of 3 bits ten parts are in an int32.

weight = (number − zero) · scale, in the order of the shape
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.quantized.dequantize import FLOATS, contradiction, require
from quantize.checkpoint.source import TensorSource

SETTINGS: Final = (
    "nbits",
    "group_size",
    "shape",
    "axis",
    "packing",
    "view_as_float",
    "unpack_view_dtype",
    "quant_scale",
    "quant_zero",
    "compute_dtype",
    "channel_wise",
    "optimize",
    "round_zero",
    "stores_quant_config",
    "offload_meta",
    "encoded_state_dict",
    "device",
)
"""The names of the tensors that hold a layer's settings."""

PARTS: Final = {
    "8bit_u8": (1, 8),
    "4bit_u8": (2, 4),
    "2bit_u8": (4, 2),
    "1bit_u8": (8, 1),
    "3bit_32": (10, 3),
}
"""The packings: the number of parts, and the bits of each."""

_FORM: Final = "HQQ"
_LETTERS: Final = 256


@dataclass(frozen=True)
class HQQLayer:
    """One linear layer, whose numbers are a matrix of `n_rows` by `n_columns`."""

    name: str
    prefix: str
    shape: tuple[int, int]
    n_rows: int
    n_columns: int
    packing: str
    axis: int
    settings: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        return (*(f"{self.prefix}.{part}" for part in ("W_q", "scale", "zero")), *self.settings)

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        n_in = self.shape[1]
        first, last = start * n_in // self.n_columns, -(-stop * n_in // self.n_columns)
        values = self._numbers(source, first, last)
        for part in ("zero", "scale"):
            begin, end = (first, last) if self.axis == 1 else (0, 1)
            factors = source.rows(f"{self.prefix}.{part}", begin, end).astype(np.float32)
            values = values - factors if part == "zero" else values * factors
        at = start * n_in - first * self.n_columns
        return values.reshape(-1)[at : at + (stop - start) * n_in].reshape(-1, n_in)

    def _numbers(self, source: TensorSource, first: int, last: int) -> npt.NDArray[np.float32]:
        """Return the numbers in rows [first, last) of the matrix."""
        n_parts, bits = PARTS[self.packing]
        name = f"{self.prefix}.W_q"
        step = source.entries[name].shape[0]
        found: list[npt.NDArray[np.float32]] = []
        for part in range(first // step, (last - 1) // step + 1):
            packed = source.rows(name, max(first - part * step, 0), min(last - part * step, step))
            shift = bits * (n_parts - 1 - part)
            found.append(((packed >> shift) & ((1 << bits) - 1)).astype(np.float32))
        return np.concatenate(found) if len(found) > 1 else found[0]


def hqq_layers(source: TensorSource) -> list[HQQLayer]:
    """Return every `….W_q` as a layer. Raises CheckpointError: unknown settings, tensors against them."""
    names = [name.removesuffix(".W_q") for name in source.entries if name.endswith(".W_q")]
    return [_layer(source, prefix) for prefix in names]


def _layer(source: TensorSource, prefix: str) -> HQQLayer:
    entries, weight = source.entries, source.entries[f"{prefix}.W_q"]
    packing = _letters(source, f"{prefix}.packing")
    shape = tuple(_numbers(source, f"{prefix}.shape", 2))
    (axis,) = _numbers(source, f"{prefix}.axis", 1)
    for name in ("view_as_float", "quant_scale", "quant_zero"):
        if f"{prefix}.{name}" in entries and any(_numbers(source, f"{prefix}.{name}", 1)):
            raise CheckpointError(f"the checkpoint is HQQ's with {name}, which is not read here")
    if packing not in PARTS or len(shape) != 2 or min(shape) < 1 or axis not in (0, 1):
        raise CheckpointError(
            f"the layer {prefix} is HQQ's with the packing {packing[:40]}, the shape {shape} and the axis "
            f"{axis}; known are {', '.join(PARTS)}, two sizes, and 0 or 1"
        )
    expected = "int32" if packing == "3bit_32" else "uint8"
    if weight.dtype.name != expected or len(weight.shape) != 2 or not weight.n_elements:
        raise contradiction(weight.name, weight, f"a matrix of {expected}", _FORM)
    n_columns = weight.shape[1]
    n_rows, rest = divmod(math.prod(shape), n_columns)
    if rest or -(-n_rows // PARTS[packing][0]) != weight.shape[0]:
        raise contradiction(weight.name, weight, f"the numbers of {list(shape)}", _FORM)
    for name in ("scale", "zero"):
        groups = (n_rows, 1) if axis == 1 else (1, n_columns)
        require(entries, f"{prefix}.{name}", groups, FLOATS, _FORM)
    settings = tuple(f"{prefix}.{name}" for name in SETTINGS if f"{prefix}.{name}" in entries)
    return HQQLayer(
        f"{prefix}.weight", prefix, (shape[0], shape[1]), n_rows, n_columns, packing, axis, settings
    )


def _numbers(source: TensorSource, name: str, limit: int) -> list[int]:
    """Return a small tensor's numbers. Raises CheckpointError: it isn't there, or not small."""
    values = _small(source, name, limit)
    return [int(value) for value in np.asarray(values).reshape(-1)]


def _letters(source: TensorSource, name: str) -> str:
    """Return a text that is saved as a tensor of its letters' numbers."""
    return "".join(chr(value) for value in np.asarray(_small(source, name, _LETTERS)).reshape(-1) % 128)


def _small(source: TensorSource, name: str, limit: int) -> Any:
    entry = source.entries.get(name)
    if entry is None:
        raise CheckpointError(f"the checkpoint lacks {name}, which {_FORM} needs; download it again")
    if not 0 < entry.n_elements <= limit:
        raise contradiction(name, entry, f"1 to {limit} numbers", _FORM)
    return source.rows(name, 0, entry.shape[0] if entry.shape else 1)
