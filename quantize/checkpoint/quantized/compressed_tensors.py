"""compressed-tensors: weights of 1 to 8 bits or FP8, scaled per tensor, output, group or block.

    pack-quantized                         X.weight_packed int32 [n_out, n_in / (32 // bits)], X.weight_shape
    int-, float- and naive-quantized       X.weight int8 or float8 [n_out, n_in]
    both                                   X.weight_scale, X.weight_zero_point?, X.weight_g_idx?

    weight[o, i] = (q[o, i] − zero[o, g_i]) · scale[o, g_i]      packed numbers are q + 2^(bits − 1)

Packed checkpoints pack their zeros too, along the outputs: int32 [n_out / (32 // bits), n_groups].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.quantized.affine import (
    FLOAT8,
    Grid,
    Numbers,
    Plain,
    ScaledLayer,
    grid_of,
    matrix_of,
    require_scale,
    size_pair,
)
from quantize.checkpoint.quantized.bit_packing import unpack_words
from quantize.checkpoint.quantized.by_module import matches
from quantize.checkpoint.quantized.dequantize import contradiction, require, setting
from quantize.checkpoint.source import TensorEntry, TensorSource

FORMATS: Final = ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision")
STRATEGIES: Final = ("tensor", "channel", "group", "block")


@dataclass(frozen=True)
class Scheme:
    """The form of a group of layers' weights, from the configuration."""

    targets: tuple[str, ...]
    bits: int
    strategy: str
    group_size: int | None
    block: tuple[int, int] | None

    @property
    def form(self) -> str:
        return f"compressed-tensors ({self.bits} bits per {self.strategy})"


@dataclass(frozen=True)
class _PackedRows:
    """Numbers q [n_out, n_in] packed along the inputs."""

    tensor: str
    bits: int
    n_in: int

    def read(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        numbers = unpack_words(source.rows(self.tensor, start, stop), self.bits)[:, : self.n_in]
        return numbers.astype(np.float32) - np.float32(1 << (self.bits - 1))


@dataclass(frozen=True)
class _PackedZeros:
    """Zeros [n_out, n_groups] packed along the outputs."""

    tensor: str
    bits: int

    def read(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        per_word = 32 // self.bits
        first, last = start // per_word, -(-stop // per_word)
        words = source.rows(self.tensor, first, last)
        zeros = unpack_words(np.ascontiguousarray(words.T), self.bits).T[start - first * per_word :]
        return zeros[: stop - start].astype(np.float32) - np.float32(1 << (self.bits - 1))


@dataclass(frozen=True)
class _PlainZeros:
    """Zeros that aren't packed, over the same grid as the scales."""

    grid: Grid

    def read(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        return self.grid.read(source, start, stop).astype(np.float32)


def compressed_layers(source: TensorSource, settings: Mapping[str, Any]) -> list[ScaledLayer]:
    """Return every layer with a `weight_scale`; the `weight_shape` of packed ones is read.

    Raises CheckpointError: unknown settings, tensors that contradict them.
    """
    _check_format(settings)
    schemes = _schemes(settings)
    layers = []
    for name in source.entries:
        if name.endswith(".weight_packed"):
            prefix = name.removesuffix("_packed")
            layers.append(_packed_layer(source, prefix, _scheme_of(prefix, schemes)))
        elif name.endswith(".weight_scale") and f"{name.removesuffix('_scale')}_packed" not in source.entries:
            weight = name.removesuffix("_scale")
            layers.append(_plain_layer(source.entries, weight, _scheme_of(weight, schemes)))
    return layers


# --- the configuration --------------------------------------------------------------------------------------


def _check_format(settings: Mapping[str, Any]) -> None:
    layout = setting(settings, "format", (str,), "naive-quantized")
    if layout not in FORMATS:
        raise CheckpointError(
            f"the checkpoint is compressed-tensors, format {layout[:40]}; known are {', '.join(FORMATS)}"
        )
    sparsity = setting(settings, "sparsity_config", (dict,), {})
    if sparsity.get("format", "dense") != "dense":
        raise CheckpointError(
            f"the checkpoint is stored sparsely ({str(sparsity.get('format'))[:40]}); give a dense one"
        )
    if setting(settings, "transform_config", (dict,), {}).get("config_groups"):
        raise CheckpointError(
            "the checkpoint's weights are rotated (transform_config), which GGUF can't say; give another one"
        )


def _schemes(settings: Mapping[str, Any]) -> list[Scheme]:
    groups = setting(settings, "config_groups", (dict,), {})
    # A group without `weights` quantizes activations alone.
    schemes = [
        _scheme(name, group)
        for name, group in groups.items()
        if not (isinstance(group, dict) and "weights" in group and group["weights"] is None)
    ]
    if not schemes:
        raise CheckpointError("the quantization_config has no config_groups; complete it")
    return schemes


def _scheme(name: str, group: Any) -> Scheme:
    weights = group.get("weights") if isinstance(group, dict) else None
    targets = group.get("targets") if isinstance(group, dict) else None
    if not isinstance(weights, dict) or not isinstance(targets, list):
        raise CheckpointError(f"{name[:40]} in the quantization_config lacks targets or weights; complete it")
    bits = setting(weights, "num_bits", (int,), 8)
    size = setting(weights, "group_size", (int,), None)
    structure = weights.get("block_structure")
    if isinstance(structure, str):
        structure = [int(size) if size.isdecimal() else size for size in structure.lower().split("x")]
    block = size_pair(structure, "block_structure")
    default = "group" if size not in (None, -1) else "channel" if size == -1 else "tensor"
    strategy = setting(weights, "strategy", (str,), default).lower()
    if not 1 <= bits <= 8 or strategy not in STRATEGIES:
        raise CheckpointError(
            f"{name[:40]} in the quantization_config has {bits} bits per {strategy[:40]}; "
            f"known are 1 to 8 bits per {', '.join(STRATEGIES)}"
        )
    if (strategy == "group" and (size is None or size < 1)) or (strategy == "block" and block is None):
        raise CheckpointError(f"{name[:40]} in the quantization_config doesn't say how large a {strategy} is")
    return Scheme(
        targets=tuple(target for target in targets if isinstance(target, str)),
        bits=bits,
        strategy=strategy,
        group_size=size if strategy == "group" else None,
        block=block if strategy == "block" else None,
    )


def _scheme_of(weight: str, schemes: Sequence[Scheme]) -> Scheme:
    """Return the scheme of a layer: by its name, else by a pattern, else the one for a class of modules."""
    if len(schemes) == 1:
        return schemes[0]
    module = weight.removesuffix(".weight")
    for is_meant in (_is_named, _is_matched, _is_class):
        for scheme in schemes:
            if any(is_meant(target, module) for target in scheme.targets):
                return scheme
    raise CheckpointError(
        f"the quantization_config has no group of which {module} is a target; complete config_groups"
    )


def _is_named(target: str, module: str) -> bool:
    return target == module


def _is_matched(target: str, module: str) -> bool:
    return target.startswith("re:") and matches(target.removeprefix("re:"), module)


def _is_class(target: str, _module: str) -> bool:
    return target == "Linear"


# --- layers -------------------------------------------------------------------------------------------------


def _packed_layer(source: TensorSource, weight: str, scheme: Scheme) -> ScaledLayer:
    entries, packed = source.entries, f"{weight}_packed"
    n_out, n_words = matrix_of(entries, packed, ("int32",), scheme.form)
    n_in = _packed_inputs(source, weight, n_out, n_words, scheme)
    numbers = _PackedRows(packed, scheme.bits, n_in)
    shape_name = f"{weight}_shape"
    extra = (shape_name,) if shape_name in entries else ()
    return _layer(entries, weight, (n_out, n_in), numbers, scheme, (packed, *extra))


def _packed_inputs(source: TensorSource, weight: str, n_out: int, n_words: int, scheme: Scheme) -> int:
    """Return n_in by `weight_shape`, which must agree with the words; without it every word is full."""
    per_word, name = 32 // scheme.bits, f"{weight}_shape"
    entry = source.entries.get(name)
    if entry is None:
        return n_words * per_word
    if entry.shape != (2,) or entry.dtype.name not in ("int64", "int32"):
        raise contradiction(name, entry, "int64 [2]", scheme.form)
    rows, columns = source.rows(name, 0, 2).tolist()
    if rows != n_out or -(-columns // per_word) != n_words:
        raise CheckpointError(
            f"tensor {name} says [{rows}, {columns}], and {weight}_packed has [{n_out}, {n_words}] words of "
            f"{per_word} numbers; weights and quantization_config don't belong together"
        )
    return int(columns)


def _plain_layer(entries: Mapping[str, TensorEntry], weight: str, scheme: Scheme) -> ScaledLayer:
    if weight not in entries:
        raise CheckpointError(f"the checkpoint has {weight}_scale and no {weight}; download it again")
    shape = matrix_of(entries, weight, (*FLOAT8, "int8"), scheme.form)
    return _layer(entries, weight, shape, Plain(weight), scheme, (weight,))


def _layer(
    entries: Mapping[str, TensorEntry],
    weight: str,
    shape: tuple[int, int],
    numbers: Numbers,
    scheme: Scheme,
    parts: tuple[str, ...],
) -> ScaledLayer:
    scale, zero, g_idx = f"{weight}_scale", f"{weight}_zero_point", f"{weight}_g_idx"
    if scale not in entries:
        raise CheckpointError(f"the checkpoint lacks {scale}, which {scheme.form} needs; download it again")
    require_scale(entries[scale], scheme.form)
    scales = grid_of(
        entries, scale, shape, block=scheme.block, group_size=scheme.group_size, form=scheme.form
    )
    if g_idx in entries:
        require(entries, g_idx, (shape[1],), ("int32", "int64"), scheme.form)
    zeros = _zeros(entries, zero, shape, scales, scheme) if zero in entries else None
    optional = tuple(name for name in (zero, g_idx) if name in entries)
    return ScaledLayer(
        name=weight,
        shape=shape,
        parts=(*parts, scale, *optional),
        numbers=numbers,
        scales=scales,
        zeros=zeros,
        g_idx=g_idx if g_idx in entries else None,
    )


def _zeros(
    entries: Mapping[str, TensorEntry], name: str, shape: tuple[int, int], scales: Grid, scheme: Scheme
) -> Numbers:
    entry = entries[name]
    if entry.dtype.name == "int32":
        n_groups = 1 if scales.columns_each >= shape[1] else -(-shape[1] // scales.columns_each)
        require(entries, name, (-(-shape[0] // (32 // scheme.bits)), n_groups), ("int32",), scheme.form)
        return _PackedZeros(name, scheme.bits)
    if entry.dtype.name not in ("int8", *FLOAT8):
        raise contradiction(name, entry, "int8, or packed int32", scheme.form)
    return _PlainZeros(
        grid_of(entries, name, shape, block=scheme.block, group_size=scheme.group_size, form=scheme.form)
    )
