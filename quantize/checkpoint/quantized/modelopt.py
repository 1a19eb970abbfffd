"""modelopt: NVFP4, 4-bit integers and FP8, with the scales of inputs by which AWQ smooths them.

INT4 AWQ   X.weight uint8 [n_out / 2, n_in]     X.weight_scale [n_out, n_groups]
           output 2·o in the low half of a byte, 2·o + 1 in the high one, from -8 to 7

weight[o, i] = number · weight_scale[o, g_i]                          g_i = i // (n_in / n_groups)

X.pre_quant_scale [n_in] multiplies the inputs, whatever form the weights are in; here it does the weights:

weight'[o, i] = weight[o, i] · pre_quant_scale[i]

Where a norm or a matrix in front had room for these scales, modelopt has folded them into it already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.quantized.dequantize import FLOATS, Layer, contradiction, require
from quantize.checkpoint.quantized.fp8 import fp8_layers
from quantize.checkpoint.quantized.nvfp4 import nvfp4_layers
from quantize.checkpoint.source import TensorEntry, TensorSource

PRE_QUANT_SCALE: Final = ".pre_quant_scale"
SVDQUANT: Final = (".svdquant_lora_a", ".svdquant_lora_b")
"""The endings of a low-rank part that is computed beside the weights, which they don't hold."""


@dataclass(frozen=True)
class INT4Layer:
    """One linear layer of 4-bit integers, two outputs to a byte.

    `unused`: the second scale of W4A8, by which its kernel rounds to 8 bits what the first one made.
    """

    name: str
    shape: tuple[int, int]
    scales: str
    group_size: int
    unused: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.name, self.scales, *self.unused)

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        first, last = start // 2, -(-stop // 2)
        raw = source.rows(self.name, first, last)
        numbers = np.empty((last - first, 2, self.shape[1]), np.int8)
        numbers[:, 0] = (raw << 4).view(np.int8) >> 4
        numbers[:, 1] = raw.view(np.int8) >> 4
        weights = numbers.reshape(-1, self.shape[1])[start - 2 * first : stop - 2 * first].astype(np.float32)
        scales = source.rows(self.scales, start, stop).astype(np.float32)
        weights *= np.repeat(scales, self.group_size, axis=1)
        return weights


@dataclass(frozen=True)
class SmoothedLayer:
    """A layer whose inputs are multiplied by `scale`, which is folded into its weights."""

    inner: Layer
    scale: str

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.inner.parts, self.scale)

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        n = source.entries[self.scale].shape[0]
        scale = source.rows(self.scale, 0, n).astype(np.float32).reshape(-1)
        return self.inner.rows(source, start, stop) * scale


def modelopt_layers(entries: Mapping[str, TensorEntry], settings: Mapping[str, Any]) -> list[Layer]:
    """Return every quantized weight as a layer; each says by its own tensors which form it is in.

    Raises CheckpointError: tensors that contradict each other.
    """
    for name in entries:
        if name.endswith(SVDQUANT):
            raise CheckpointError(
                f"the checkpoint has {name}, a part of SVDQuant's that weights don't hold; "
                "give the 16-bit model"
            )
    layers: list[Layer] = [_int4_layer(entries, name) for name in entries if _is_int4(entries, name)]
    taken = {part for layer in layers for part in layer.parts}
    others = {name: entry for name, entry in entries.items() if name not in taken}
    layers += nvfp4_layers(others)
    taken |= {part for layer in layers for part in layer.parts}
    layers += fp8_layers({name: entry for name, entry in entries.items() if name not in taken}, settings)
    return _smoothed(entries, layers)


def _smoothed(entries: Mapping[str, TensorEntry], layers: list[Layer]) -> list[Layer]:
    """Return the layers, with what scales their inputs. Raises CheckpointError: a scale that doesn't fit."""
    by_scale = {f"{layer.name.removesuffix('.weight')}{PRE_QUANT_SCALE}": layer for layer in layers}
    found: dict[str, Layer] = {layer.name: layer for layer in layers}
    for name, entry in entries.items():
        if not name.endswith(PRE_QUANT_SCALE):
            continue
        layer = by_scale.get(name)
        if layer is None:
            raise CheckpointError(
                f"tensor {name} scales the inputs of no quantized weight; download the checkpoint again"
            )
        n_in = layer.shape[-1]
        if entry.shape not in ((n_in,), (1, n_in)) or entry.dtype.name not in FLOATS:
            raise contradiction(name, entry, f"a number for each of {n_in} inputs", "modelopt's AWQ")
        found[layer.name] = SmoothedLayer(layer, name)
    return list(found.values())


def _is_int4(entries: Mapping[str, TensorEntry], name: str) -> bool:
    scale = entries.get(f"{name}_scale")
    is_packed = name.endswith(".weight") and entries[name].dtype.name == "uint8"
    return is_packed and scale is not None and scale.dtype.name in FLOATS


def _int4_layer(entries: Mapping[str, TensorEntry], name: str) -> INT4Layer:
    form, entry, scale = "modelopt's INT4", entries[name], entries[f"{name}_scale"]
    if len(entry.shape) != 2 or not entry.n_elements:
        raise contradiction(name, entry, "a matrix of bytes", form)
    shape = (2 * entry.shape[0], entry.shape[1])
    n_groups = scale.shape[1] if len(scale.shape) == 2 else 1
    if n_groups == 0 or shape[1] % n_groups:
        raise contradiction(scale.name, scale, f"groups of {shape[1]} inputs", form)
    require(entries, scale.name, (shape[0], n_groups), FLOATS, form)
    unused = tuple(part for part in (f"{name}_scale_2",) if part in entries)
    return INT4Layer(name, shape, scale.name, shape[1] // n_groups, unused)
