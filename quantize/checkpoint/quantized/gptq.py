"""GPTQ: weights of 2, 3, 4 or 8 bits, packed along the inputs, with a scale and a zero per group.

    qweight int32 [n_in · bits / 32, n_out]    qzeros int32 [n_groups, n_out · bits / 32]
    scales        [n_groups, n_out]            g_idx  int32 [n_in], else input i is in group i // group_size

    weight[o, i] = scales[g_i, o] · (q[i, o] − (zero[g_i, o] + 1))        without "+ 1" in gptq_v2

Act-order (desc_act) is nothing but another g_idx. A file's columns are our rows: they are read alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.quantized.bit_packing import unpack_dense
from quantize.checkpoint.quantized.dequantize import FLOATS, contradiction, require, setting
from quantize.checkpoint.source import TensorEntry, TensorSource

BITS: Final = (2, 3, 4, 8)
_UNIT: Final = 32
"""The number of columns that are read together: they fill whole words whatever their bits."""


@dataclass(frozen=True)
class GPTQLayer:
    """One linear layer. `zero_offset` is added to the file's zeros; `group_size` counts without a g_idx."""

    prefix: str
    shape: tuple[int, int]
    bits: int
    group_size: int
    n_groups: int
    zero_offset: int
    has_g_idx: bool

    @property
    def name(self) -> str:
        return f"{self.prefix}.weight"

    @property
    def parts(self) -> tuple[str, ...]:
        suffixes = ("qweight", "qzeros", "scales", *(("g_idx",) if self.has_g_idx else ()))
        return tuple(f"{self.prefix}.{suffix}" for suffix in suffixes)

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        words = source.columns(f"{self.prefix}.qweight", start, stop)
        numbers = unpack_dense(np.ascontiguousarray(words.T), self.bits)
        scales = source.columns(f"{self.prefix}.scales", start, stop).T.astype(np.float32)
        zeros = self._zeros(source, start, stop)
        groups = self._groups(source)
        difference = numbers - np.take(zeros, groups, axis=1)
        return np.take(scales, groups, axis=1) * difference.astype(np.float32)

    def _zeros(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.int16]:
        """Return what is subtracted from the numbers: [stop - start, n_groups]."""
        name = f"{self.prefix}.qzeros"
        n_words = source.entries[name].shape[1]
        first = start // _UNIT
        last = min(-(-stop // _UNIT) * self.bits, n_words)
        words = source.columns(name, first * self.bits, last)
        zeros = unpack_dense(np.ascontiguousarray(words), self.bits)[:, start - first * _UNIT :][
            :, : stop - start
        ]
        return zeros.T.astype(np.int16) + np.int16(self.zero_offset)

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


def gptq_layers(entries: Mapping[str, TensorEntry], settings: Mapping[str, Any]) -> list[GPTQLayer]:
    """Return every `….qweight` as a layer. Raises CheckpointError: unknown settings, tensors against them."""
    bits = setting(settings, "bits", (int,), None)
    group_size = setting(settings, "group_size", (int,), 128)
    layout = setting(settings, "checkpoint_format", (str,), "gptq")
    if bits not in BITS or group_size < -1 or group_size == 0:
        raise CheckpointError(
            f"the quantization_config says {bits} bits in groups of {group_size}; GPTQ has "
            f"{', '.join(map(str, BITS))} bits and groups of 1 or more, or -1"
        )
    if layout not in ("gptq", "gptq_v2") or settings.get("is_marlin_format"):
        layout = "marlin" if settings.get("is_marlin_format") else layout
        raise CheckpointError(
            f"the checkpoint is GPTQ packed for the {layout[:40]} kernel; give one in plain gptq"
        )
    offset = 1 if layout == "gptq" else 0
    prefixes = [name.removesuffix(".qweight") for name in entries if name.endswith(".qweight")]
    return [_layer(entries, prefix, bits, group_size, offset) for prefix in prefixes]


def _layer(
    entries: Mapping[str, TensorEntry], prefix: str, bits: int, group_size: int, zero_offset: int
) -> GPTQLayer:
    form = f"{bits}-bit GPTQ with groups of {group_size}"
    name = f"{prefix}.qweight"
    weight = entries[name]
    if len(weight.shape) != 2 or weight.dtype.name != "int32" or weight.shape[0] * 32 % bits:
        raise contradiction(name, weight, f"int32 [n_in · {bits} / 32, n_out]", form)
    n_in, n_out = weight.shape[0] * 32 // bits, weight.shape[1]
    if n_out * bits % 32 or n_out == 0 or n_in == 0:
        raise contradiction(name, weight, f"outputs of which {bits} bits each fill words of 32", form)
    size = n_in if group_size == -1 else group_size
    n_groups = -(-n_in // size)
    has_g_idx = f"{prefix}.g_idx" in entries
    if has_g_idx:
        require(entries, f"{prefix}.g_idx", (n_in,), ("int32", "int64"), form)
    require(entries, f"{prefix}.scales", (n_groups, n_out), FLOATS, form)
    require(entries, f"{prefix}.qzeros", (n_groups, n_out * bits // 32), ("int32",), form)
    return GPTQLayer(prefix, (n_out, n_in), bits, size, n_groups, zero_offset, has_g_idx)
