"""GPTQ: weights of 2, 3, 4 or 8 bits, packed along the inputs, with a scale and a zero per group.

    qweight int32 [n_in · bits / 32, n_out]    qzeros int32 [n_groups, n_out · bits / 32]
    scales        [n_groups, n_out]            g_idx  int32 [n_in], else input i is in group i // group_size

    weight[o, i] = scales[g_i, o] · (q[i, o] − zero[g_i, o])

Words may have 8, 16 or 64 bits as well. `gptq_zeros` says how zeros are stored; without qzeros they are the
middle. Act-order (desc_act) is nothing but another g_idx. A file's columns are our rows: they are read alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.quantized.bit_packing import unpack_dense
from quantize.checkpoint.quantized.by_module import settings_of
from quantize.checkpoint.quantized.dequantize import FLOATS, contradiction, require, setting
from quantize.checkpoint.quantized.gptq_zeros import StoredZeros, stored_zeros, three_bit_zeros
from quantize.checkpoint.quantized.marlin import MarlinLayer, marlin_layers
from quantize.checkpoint.source import TensorSource

BITS: Final = (2, 3, 4, 8)
WORDS: Final = ("int32", "int64", "int16", "int8")
"""The dtypes of packed words (`pack_dtype` in the settings)."""
LAYOUTS: Final = ("gptq", "gptq_v2", "marlin")
"""The layouts that can be read: zeros less one, zeros as they are, and Marlin's without zeros."""


@dataclass(frozen=True)
class GPTQLayer:
    """One linear layer. `group_size` counts without a g_idx; `zeros` is None if there are no qzeros."""

    prefix: str
    shape: tuple[int, int]
    bits: int
    group_size: int
    n_groups: int
    zeros: StoredZeros | None
    has_g_idx: bool

    @property
    def name(self) -> str:
        return f"{self.prefix}.weight"

    @property
    def parts(self) -> tuple[str, ...]:
        zeros = ("qzeros",) if self.zeros is not None else ()
        suffixes = ("qweight", *zeros, "scales", *(("g_idx",) if self.has_g_idx else ()))
        return tuple(f"{self.prefix}.{suffix}" for suffix in suffixes)

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        words = source.columns(f"{self.prefix}.qweight", start, stop)
        numbers = unpack_dense(np.ascontiguousarray(words.T), self.bits)
        scales = source.columns(f"{self.prefix}.scales", start, stop).T.astype(np.float32)
        groups = self._groups(source)
        difference = numbers.astype(np.float32)
        if self.zeros is None:
            difference -= np.float32(1 << (self.bits - 1))
        else:
            difference -= np.take(self._zeros(source, self.zeros, start, stop), groups, axis=1)
        return np.take(scales, groups, axis=1) * difference

    def _zeros(
        self, source: TensorSource, zeros: StoredZeros, start: int, stop: int
    ) -> npt.NDArray[np.int16]:
        """Return what is subtracted from the numbers: [stop - start, n_groups]."""
        name = f"{self.prefix}.qzeros"
        entry = source.entries[name]
        per_unit = zeros.unit_words * entry.dtype.itemsize * 8 // self.bits
        first, last = start // per_unit, -(-stop // per_unit)
        words = source.columns(name, first * zeros.unit_words, min(last * zeros.unit_words, entry.shape[1]))
        return zeros.unpack(words)[:, start - first * per_unit : stop - first * per_unit].T

    def _groups(self, source: TensorSource) -> npt.NDArray[np.intp]:
        """Return the group of each input: [n_in]."""
        if not self.has_g_idx:
            return np.arange(self.shape[1], dtype=np.intp) // self.group_size
        name = f"{self.prefix}.g_idx"
        groups = source.rows(name, 0, self.shape[1]).astype(np.intp)
        if groups.min() < 0 or groups.max() >= self.n_groups:
            raise CheckpointError(
                f"tensor {name} holds groups from {groups.min()} to {groups.max()}, and there are "
                f"{self.n_groups}; the file is damaged"
            )
        return groups


def gptq_layers(source: TensorSource, settings: Mapping[str, Any]) -> list[GPTQLayer] | list[MarlinLayer]:
    """Return every `….qweight`, or in Marlin's layout `….B`, as a layer; the zeros of 3 bits are read.

    Raises CheckpointError: unknown settings, tensors that contradict them.
    """
    layout = _layout(settings)
    if layout == "marlin":
        return marlin_layers(source.entries, *_bits_and_group_size(settings))
    is_v2 = layout == "gptq_v2"
    prefixes = [name.removesuffix(".qweight") for name in source.entries if name.endswith(".qweight")]
    layers = [_layer(source, prefix, settings_of(prefix, settings), is_v2) for prefix in prefixes]
    in_threes = [layer for layer in layers if layer.bits == 3 and layer.zeros is not None]
    if is_v2 or not in_threes:
        return layers
    names = (f"{layer.prefix}.qzeros" for layer in in_threes)
    words = [source.rows(name, 0, source.entries[name].shape[0]) for name in names]
    zeros = three_bit_zeros(words, settings)  # a checkpoint has one writer
    is_three = {layer.prefix for layer in in_threes}
    return [replace(layer, zeros=zeros) if layer.prefix in is_three else layer for layer in layers]


def _layout(settings: Mapping[str, Any]) -> str:
    """Return the layout of the tensors. Raises CheckpointError: one that isn't known."""
    meta = settings.get("meta")
    named = [settings, meta] if isinstance(meta, dict) else [settings]
    layouts = [setting(one, key, (str,), None) for one in named for key in ("checkpoint_format", "format")]
    layout = next((layout.lower() for layout in layouts if layout is not None), "gptq")
    if settings.get("is_marlin_format"):
        layout = "marlin"
    if layout not in LAYOUTS:
        raise CheckpointError(
            f"the checkpoint is GPTQ packed for the {layout[:40]} kernel; give one in plain gptq"
        )
    return layout


def _layer(source: TensorSource, prefix: str, settings: Mapping[str, Any], is_v2: bool) -> GPTQLayer:
    entries = source.entries
    bits, group_size = _bits_and_group_size(settings)
    form = f"{bits}-bit GPTQ with groups of {group_size}"
    name = f"{prefix}.qweight"
    weight = entries[name]
    word_bits = weight.dtype.itemsize * 8
    if len(weight.shape) != 2 or weight.dtype.name not in WORDS or weight.shape[0] * word_bits % bits:
        raise contradiction(name, weight, f"int32 [n_in · {bits} / 32, n_out]", form)
    if bits == 3 and word_bits != 32:
        raise CheckpointError(f"tensor {name} packs 3 bits into {weight.dtype.name}; only int32 can be read")
    n_in, n_out = weight.shape[0] * word_bits // bits, weight.shape[1]
    if n_out * bits % word_bits or n_out == 0 or n_in == 0:
        raise contradiction(
            name, weight, f"outputs of which {bits} bits each fill words of {word_bits}", form
        )
    size = n_in if group_size == -1 else group_size
    n_groups = -(-n_in // size)
    g_idx, qzeros = f"{prefix}.g_idx", f"{prefix}.qzeros"
    has_g_idx = g_idx in entries and entries[g_idx].n_elements > 0
    if has_g_idx:
        require(entries, g_idx, (n_in,), ("int32", "int64"), form)
    require(entries, f"{prefix}.scales", (n_groups, n_out), FLOATS, form)
    is_symmetric = setting(settings, "sym", (bool,), False)
    zeros: StoredZeros | None = None
    if qzeros in entries or not is_symmetric:
        require(entries, qzeros, (n_groups, n_out * bits // word_bits), (weight.dtype.name,), form)
        zeros = stored_zeros(bits, word_bits, is_v2=is_v2)
    return GPTQLayer(prefix, (n_out, n_in), bits, size, n_groups, zeros, has_g_idx)


def _bits_and_group_size(settings: Mapping[str, Any]) -> tuple[int, int]:
    bits = setting(settings, "bits", (int,), None)
    group_size = setting(settings, "group_size", (int,), 128)
    if bits not in BITS or group_size < -1 or group_size == 0:
        raise CheckpointError(
            f"the quantization_config says {bits} bits in groups of {group_size}; GPTQ has "
            f"{', '.join(map(str, BITS))} bits and groups of 1 or more, or -1"
        )
    return bits, group_size
