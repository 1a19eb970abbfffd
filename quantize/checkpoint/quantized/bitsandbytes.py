"""bitsandbytes: weights of 4 bits in blocks, and of 8 bits with a scale per output.

4 bits (nf4, fp4)                                             8 bits (LLM.int8)
X.weight              two numbers a byte, the first one high  X.weight         int8 [n_out, n_in]
X.weight.quant_map    float32 [16], what each number means    X.SCB            float32 [n_out]
X.weight.absmax       a scale for each block of numbers       X.weight_format  0, the order of rows
X.weight.quant_state.bitsandbytes__nf4 (or fp4)
                      JSON: shape, blocksize, and with nested scales nested_blocksize, nested_offset
X.weight.nested_absmax, .nested_quant_map
                      absmax is bytes then: quant_map[byte] · nested_absmax[block] + nested_offset

weight = quant_map[number] · absmax[block]                    weight = number · SCB / 127
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.quantized.affine import matrix_of
from quantize.checkpoint.quantized.dequantize import Layer, contradiction, require, setting
from quantize.checkpoint.source import TensorEntry, TensorSource

STATE: Final = ".quant_state.bitsandbytes__"
KINDS: Final = ("nf4", "fp4")
_STATE_LIMIT: Final = 65_536
_FORMAT: Final = "weight_format"
_PER_127: Final = np.float32(7.874015718698502e-3)


@dataclass(frozen=True)
class Nested:
    """The settings of scales that are quantized themselves."""

    block_size: int
    offset: float


@dataclass(frozen=True)
class FourBitLayer:
    """One linear layer of 4 bits."""

    name: str
    shape: tuple[int, int]
    block_size: int
    state: str
    nested: Nested | None

    @property
    def parts(self) -> tuple[str, ...]:
        more = ("absmax", "quant_map", *(("nested_absmax", "nested_quant_map") if self.nested else ()))
        return (self.name, *(f"{self.name}.{part}" for part in more), self.state)

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        n_in = self.shape[1]
        first, last = start * n_in, stop * n_in
        values = np.take(self._read(source, "quant_map"), self._numbers(source, first, last))
        block, end = first // self.block_size, -(-last // self.block_size)
        scales = np.repeat(self._scales(source, block, end), self.block_size)
        values *= scales[first - block * self.block_size :][: last - first]
        return values.reshape(stop - start, n_in)

    def _numbers(self, source: TensorSource, first: int, last: int) -> npt.NDArray[np.uint8]:
        """Return the numbers [first, last), counted row by row; words of any dtype hold them."""
        per_item = 2 * source.entries[self.name].dtype.itemsize
        item, end = first // per_item, -(-last // per_item)
        raw = np.ascontiguousarray(source.rows(self.name, item, end)).reshape(-1).view(np.uint8)
        numbers = np.stack([raw >> 4, raw & 15], axis=-1).reshape(-1)
        return numbers[first - item * per_item :][: last - first]

    def _scales(self, source: TensorSource, first: int, last: int) -> npt.NDArray[np.float32]:
        scales = source.rows(f"{self.name}.absmax", first, last)
        if self.nested is None:
            return scales.astype(np.float32)
        size = self.nested.block_size
        block, end = first // size, -(-last // size)
        outer = np.repeat(source.rows(f"{self.name}.nested_absmax", block, end), size)
        found = np.take(self._read(source, "nested_quant_map"), scales)
        found *= outer[first - block * size :][: last - first]
        return found + np.float32(self.nested.offset)

    def _read(self, source: TensorSource, part: str) -> npt.NDArray[np.float32]:
        name = f"{self.name}.{part}"
        return source.rows(name, 0, source.entries[name].shape[0]).astype(np.float32)


@dataclass(frozen=True)
class EightBitLayer:
    """One linear layer of 8 bits."""

    name: str
    shape: tuple[int, int]
    scale: str
    order: str | None

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.name, self.scale, *((self.order,) if self.order else ()))

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        values = source.rows(self.name, start, stop).astype(np.float32)
        values *= source.rows(self.scale, start, stop).astype(np.float32)[:, None]
        values *= _PER_127
        return values


def bitsandbytes_layers(source: TensorSource) -> Iterator[Layer]:
    """Yield every packed weight as a layer. Raises CheckpointError: tensors that contradict each other."""
    for name, entry in source.entries.items():
        prefix = name.removesuffix(".weight")
        if prefix == name:
            continue
        states = [f"{name}{STATE}{kind}" for kind in KINDS if f"{name}{STATE}{kind}" in source.entries]
        if states:
            yield _four_bit_layer(source, name, states[0])
        elif f"{prefix}.SCB" in source.entries:
            yield _eight_bit_layer(source, prefix)
        elif entry.dtype.name in ("int8", "uint8"):
            raise CheckpointError(
                f"tensor {name} is {entry.dtype.name} and has neither a quant_state nor an SCB, which "
                "bitsandbytes saves beside it; download the checkpoint again"
            )


def _four_bit_layer(source: TensorSource, name: str, state: str) -> FourBitLayer:
    entries, form = source.entries, "bitsandbytes with 4 bits"
    settings = _settings(source, state)
    shape, block_size = settings.get("shape"), setting(settings, "blocksize", (int,), 64)
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and n > 0 for n in shape)):
        raise CheckpointError(f"tensor {state} says the shape {str(shape)[:40]}; it must be two sizes")
    n_numbers, entry = math.prod(shape), entries[name]
    if entry.n_elements * entry.dtype.itemsize != -(-n_numbers // 2) or entry.shape[0] != entry.n_elements:
        raise contradiction(name, entry, f"two numbers a byte of {shape}", form)
    if block_size < 1:
        raise CheckpointError(f"tensor {state} says blocks of {block_size}; they have 1 number or more")
    n_blocks = -(-n_numbers // block_size)
    nested = None
    require(entries, f"{name}.quant_map", (16,), ("float32",), form)
    if f"{name}.nested_absmax" in entries:
        size = setting(settings, "nested_blocksize", (int,), 256)
        offset = setting(settings, "nested_offset", (int, float), None)
        if size < 1 or offset is None or not abs(offset) <= sys.float_info.max:
            raise CheckpointError(f"tensor {state} lacks nested_blocksize or nested_offset")
        nested = Nested(size, float(offset))
        require(entries, f"{name}.absmax", (n_blocks,), ("uint8",), form)
        require(entries, f"{name}.nested_absmax", (-(-n_blocks // size),), ("float32",), form)
        require(entries, f"{name}.nested_quant_map", (256,), ("float32",), form)
    else:
        require(entries, f"{name}.absmax", (n_blocks,), ("float32",), form)
    return FourBitLayer(name, (shape[0], shape[1]), block_size, state, nested)


def _settings(source: TensorSource, state: str) -> Mapping[str, Any]:
    """Return the settings in a tensor of letters. Raises CheckpointError: no object of JSON."""
    entry = source.entries[state]
    if entry.dtype.name != "uint8" or len(entry.shape) != 1 or entry.n_elements > _STATE_LIMIT:
        raise contradiction(state, entry, f"up to {_STATE_LIMIT} letters", "bitsandbytes with 4 bits")
    try:
        settings = json.loads(source.rows(state, 0, entry.shape[0]).tobytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"tensor {state} holds no JSON ({error}); the file is damaged") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"tensor {state} holds no settings; the file is damaged")
    return settings


def _eight_bit_layer(source: TensorSource, prefix: str) -> EightBitLayer:
    entries, form = source.entries, "bitsandbytes with 8 bits"
    name, scale, order = f"{prefix}.weight", f"{prefix}.SCB", f"{prefix}.{_FORMAT}"
    shape = matrix_of(entries, name, ("int8",), form)
    require(entries, scale, (shape[0],), ("float32", "float16", "bfloat16"), form)
    has_order = order in entries
    if has_order and _first(source, entries[order]) != 0:
        raise CheckpointError(
            f"tensor {order} says that {name} is in the order of a kernel; save the model by a newer"
            " bitsandbytes, which writes rows"
        )
    return EightBitLayer(name, shape, scale, order if has_order else None)


def _first(source: TensorSource, entry: TensorEntry) -> int:
    if not entry.n_elements:
        raise contradiction(entry.name, entry, "a number", "bitsandbytes with 8 bits")
    return int(np.asarray(source.rows(entry.name, 0, 1)).reshape(-1)[0])
