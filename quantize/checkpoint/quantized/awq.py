"""AWQ: weights of 4 bits with a scale and a zero per group of inputs, in four packings.

gemm   qweight int32 [n_in, n_out / 8]   qzeros int32 [n_groups, n_out / 8]   scales [n_groups, n_out]
       the eight numbers of a word are outputs 0 2 4 6 1 3 5 7
gemv   qweight int32 [n_out, n_in / 8]   qzeros int32 [n_out, n_words]        scales [n_out, n_words · 8]
       in order, the groups padded to whole words and more

weight[o, i] = (q[o, i] − zero[o, g_i]) · scale[o, g_i]               g_i = i // group_size

gemv_fast  qweight int16 [n_out / 4, n_in]       scales, qzeros [n_groups and padding, n_out], both floats
           of llm-awq, too (scaled_zeros): 64 words hold 64 inputs of four outputs, each 32 in another order
marlin     `marlin` has it, without zeros

weight[o, i] = q[o, i] · scale[g_i, o] + zero[g_i, o]                 of gemv_fast
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.quantized.bit_packing import unpack_dense
from quantize.checkpoint.quantized.by_module import settings_of
from quantize.checkpoint.quantized.dequantize import FLOATS, contradiction, require, setting
from quantize.checkpoint.quantized.marlin import MarlinLayer, marlin_layers
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource

VERSIONS: Final = ("gemm", "gemv", "exllama", "exllamav2", "ipex", "gemv_fast", "marlin")
"""The kernels whose packing is known; ExLlama's and IPEX's repack what is stored for gemm when loaded."""

PER_WORD: Final = 8
ORDER: Final = (0, 2, 4, 6, 1, 3, 5, 7)
"""The n-th number of a word belongs to the n-th of these outputs."""
_PLACE: Final = np.argsort(ORDER)

FAST_OUTPUTS: Final = 4
FAST_INPUTS: Final = 64
"""The outputs and inputs that words of the gemv_fast packing go together for."""


@dataclass(frozen=True)
class AWQLayer:
    """One linear layer, in the gemv packing if `gemv`, else in the gemm one."""

    prefix: str
    shape: tuple[int, int]
    group_size: int
    gemv: bool

    @property
    def name(self) -> str:
        return f"{self.prefix}.weight"

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(f"{self.prefix}.{suffix}" for suffix in ("qweight", "qzeros", "scales"))

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        n_out, n_in = stop - start, self.shape[1]
        n_groups = n_in // self.group_size
        weight, zeros, scales = (
            self._gemv(source, start, stop) if self.gemv else self._gemm(source, start, stop)
        )
        numbers = weight.reshape(n_out, n_groups, self.group_size).astype(np.int16)
        difference = numbers - zeros[:, :n_groups, None].astype(np.int16)
        dequantized = difference.astype(np.float32)
        dequantized *= scales[:, :n_groups, None].astype(np.float32)
        return dequantized.reshape(n_out, n_in)

    def _gemv(self, source: TensorSource, start: int, stop: int) -> tuple[Rows, Rows, Rows]:
        """Return numbers [n_out, n_in], zeros and scales [n_out, n_groups or more]."""
        qweight, qzeros, scales = (source.rows(part, start, stop) for part in self.parts)
        return unpack_dense(qweight, 4), unpack_dense(qzeros, 4), scales

    def _gemm(self, source: TensorSource, start: int, stop: int) -> tuple[Rows, Rows, Rows]:
        qweight, qzeros, scales = self.parts
        first, last = start // PER_WORD, -(-stop // PER_WORD)
        cut = slice(start - first * PER_WORD, stop - first * PER_WORD)
        weight, zeros = (_in_order(source.columns(part, first, last))[:, cut].T for part in (qweight, qzeros))
        return np.ascontiguousarray(weight), zeros, source.columns(scales, start, stop).T


@dataclass(frozen=True)
class AWQFastLayer:
    """One linear layer in the gemv_fast packing. `zeros`: the last part of the name of its zeros."""

    prefix: str
    shape: tuple[int, int]
    group_size: int
    zeros: str

    @property
    def name(self) -> str:
        return f"{self.prefix}.weight"

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(f"{self.prefix}.{suffix}" for suffix in ("qweight", "scales", self.zeros))

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        qweight, scales, zeros = self.parts
        first, last = start // FAST_OUTPUTS, -(-stop // FAST_OUTPUTS)
        numbers = _fast_in_order(source.rows(qweight, first, last))
        weights = numbers[start - first * FAST_OUTPUTS : stop - first * FAST_OUTPUTS].astype(np.float32)
        groups = np.arange(self.shape[1]) // self.group_size
        weights *= source.columns(scales, start, stop).T.astype(np.float32)[:, groups]
        weights += source.columns(zeros, start, stop).T.astype(np.float32)[:, groups]
        return weights


def _fast_in_order(words: Rows) -> npt.NDArray[np.uint8]:
    """Unpack [n, n_in] words of four numbers to [4 · n, n_in] in the order of outputs and inputs."""
    n, n_in = words.shape
    of_outputs = unpack_dense(words, 4).reshape(n, n_in // FAST_INPUTS, FAST_OUTPUTS, FAST_INPUTS)
    lines = of_outputs.swapaxes(1, 2).reshape(n * FAST_OUTPUTS, n_in // 32, 4, 2, 4)
    pairs = lines.swapaxes(3, 4)  # [line, 32 inputs, four of 8, pair, number of a pair]
    return pairs.swapaxes(2, 3).reshape(n * FAST_OUTPUTS, n_in)


def _in_order(words: Rows) -> npt.NDArray[np.uint8]:
    """Unpack [n, n_words] to [n, n_words · 8] in the order of the outputs."""
    numbers = unpack_dense(words, 4).reshape(*words.shape, PER_WORD)
    return numbers[..., _PLACE].reshape(len(words), -1)


def awq_layers(
    entries: Mapping[str, TensorEntry], settings: Mapping[str, Any]
) -> list[AWQLayer] | list[AWQFastLayer] | list[MarlinLayer]:
    """Return every `….qweight` as a layer. Raises CheckpointError: unknown settings, tensors against them."""
    bits = setting(settings, "bits", (int,), setting(settings, "w_bit", (int,), 4))
    version = setting(settings, "version", (str,), setting(settings, "format", (str,), "gemm")).lower()
    if settings.get("backend") == "llm-awq":
        is_fast = any(name.endswith(".scaled_zeros") for name in entries)
        version = "gemv_fast" if is_fast else "llm-awq"
    if bits != 4 or version not in VERSIONS:
        raise CheckpointError(
            f"the checkpoint is {bits}-bit AWQ, kernel {version[:40]}; "
            f"known are 4 bits, {', '.join(VERSIONS)}"
        )
    if version == "marlin":
        return marlin_layers(entries, bits, _group_size_of("", settings))
    prefixes = [name.removesuffix(".qweight") for name in entries if name.endswith(".qweight")]
    if version == "gemv_fast":
        return [_fast_layer(entries, prefix, _group_size_of(prefix, settings)) for prefix in prefixes]
    layer_of = _gemv_layer if version == "gemv" else _gemm_layer
    return [layer_of(entries, prefix, _group_size_of(prefix, settings)) for prefix in prefixes]


def _group_size_of(prefix: str, settings: Mapping[str, Any]) -> int:
    here = settings_of(prefix, settings)
    group_size = setting(here, "group_size", (int,), setting(here, "q_group_size", (int,), 128))
    if group_size < -1 or group_size == 0:
        raise CheckpointError(
            f"the quantization_config says groups of {group_size}; AWQ has 1 or more, or -1"
        )
    return int(group_size)


def _gemm_layer(entries: Mapping[str, TensorEntry], prefix: str, group_size: int) -> AWQLayer:
    form = f"AWQ (gemm) with groups of {group_size}"
    n_in, n_words = _matrix(entries, f"{prefix}.qweight", form)
    size = _group_size(entries, f"{prefix}.qweight", n_in, group_size, form)
    require(entries, f"{prefix}.qzeros", (n_in // size, n_words), ("int32",), form)
    require(entries, f"{prefix}.scales", (n_in // size, n_words * PER_WORD), FLOATS, form)
    return AWQLayer(prefix, (n_words * PER_WORD, n_in), size, gemv=False)


def _gemv_layer(entries: Mapping[str, TensorEntry], prefix: str, group_size: int) -> AWQLayer:
    form = f"AWQ (gemv) with groups of {group_size}"
    n_out, n_words = _matrix(entries, f"{prefix}.qweight", form)
    n_in = n_words * PER_WORD
    size = _group_size(entries, f"{prefix}.qweight", n_in, group_size, form)
    scales = entries.get(f"{prefix}.scales")
    n_padded = scales.shape[1] if scales is not None and len(scales.shape) == 2 else n_in // size
    if scales is not None and (n_padded < n_in // size or n_padded % PER_WORD):
        raise contradiction(f"{prefix}.scales", scales, f"[{n_out}, {n_in // size} and padding]", form)
    require(entries, f"{prefix}.scales", (n_out, n_padded), FLOATS, form)
    require(entries, f"{prefix}.qzeros", (n_out, n_padded // PER_WORD), ("int32",), form)
    return AWQLayer(prefix, (n_out, n_in), size, gemv=True)


def _fast_layer(entries: Mapping[str, TensorEntry], prefix: str, group_size: int) -> AWQFastLayer:
    form = f"AWQ (gemv_fast) with groups of {group_size}"
    qweight = entries[f"{prefix}.qweight"]
    shape = qweight.shape
    if (
        len(shape) != 2
        or qweight.dtype.name != "int16"
        or not shape[0]
        or not shape[1]
        or shape[1] % FAST_INPUTS
    ):
        raise contradiction(
            qweight.name, qweight, f"int16 [n_out / 4, n_in], n_in a multiple of {FAST_INPUTS}", form
        )
    n_out, n_in = shape[0] * FAST_OUTPUTS, shape[1]
    size = _group_size(entries, qweight.name, n_in, group_size, form)
    scales = entries.get(f"{prefix}.scales")
    n_padded = scales.shape[0] if scales is not None and len(scales.shape) == 2 else n_in // size
    if scales is not None and n_padded < n_in // size:
        raise contradiction(scales.name, scales, f"[{n_in // size} and padding, {n_out}]", form)
    zeros = "scaled_zeros" if f"{prefix}.scaled_zeros" in entries else "qzeros"
    for part in ("scales", zeros):
        require(entries, f"{prefix}.{part}", (n_padded, n_out), FLOATS, form)
    return AWQFastLayer(prefix, (n_out, n_in), size, zeros)


def _matrix(entries: Mapping[str, TensorEntry], name: str, form: str) -> tuple[int, int]:
    entry = entries[name]
    if len(entry.shape) != 2 or entry.dtype.name != "int32" or not entry.n_elements:
        raise contradiction(name, entry, "an int32 matrix", form)
    return entry.shape[0], entry.shape[1]


def _group_size(entries: Mapping[str, TensorEntry], name: str, n_in: int, group_size: int, form: str) -> int:
    size = n_in if group_size == -1 else group_size
    if n_in % size:
        raise contradiction(name, entries[name], f"inputs that {size} divides", form)
    return size
