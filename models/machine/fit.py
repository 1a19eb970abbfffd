"""The memory that a model needs, and how much of it fits where: pure arithmetic on a GGUF's header.

The weights and the KV cache are exact for models that cache keys and values; the compute buffer is
llama.cpp's own result for the Llama family in closed form, within a few per cent (test_fit.py compares).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from models.errors import ContextError
from models.expert_tensors import layer_of_experts
from models.quantization_types import TENSOR_TYPES, QuantizationType

MIB = 2**20
GIB = 2**30
_KV_TYPES = {row.name.lower(): row for row in TENSOR_TYPES.values() if row.kv_cache}
CELL_PADDING = 256
"""llama.cpp gives a sequence KV cells in multiples of this number."""
_DEFAULT_UBATCH = 512


class TensorLike(Protocol):
    """A tensor as `models.gguf.info` lists it."""

    @property
    def name(self) -> str: ...
    @property
    def nbytes(self) -> int: ...


class ModelFile(Protocol):
    """The part of `models.gguf.info.GGUFInfo` that an estimate needs."""

    @property
    def tensors(self) -> Sequence[TensorLike]: ...
    @property
    def n_layer(self) -> int | None: ...
    @property
    def n_embd(self) -> int | None: ...
    @property
    def n_vocab(self) -> int | None: ...
    @property
    def window_layers(self) -> Sequence[bool]: ...
    def hyperparameter(self, key: str) -> int | None: ...
    def per_layer(self, key: str) -> list[int | float]: ...


class DeviceLike(Protocol):
    """The part of `models.machine.device.Device` that a plan of layers on GPUs needs."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def memory_free(self) -> int: ...


@dataclass(frozen=True)
class MemoryEstimate:
    """The bytes that a loaded model takes. `layer_weights[i]`, `layer_kv[i]`: layer i; `input_weights`: the
    token embeddings, always on the host; `output_weights`: the last matrix and what stands beside it.

    `compute`: the working memory of one device; `output`: the logits on the host. `layer_experts[i]`: the
    part of a mixture's layer that is its experts'; `largest_experts`: their largest tensor.
    """

    input_weights: int
    layer_weights: tuple[int, ...]
    output_weights: int
    layer_kv: tuple[int, ...]
    compute: int
    output: int
    layer_experts: tuple[int, ...] = ()
    largest_experts: int = 0

    @property
    def n_layer(self) -> int:
        return len(self.layer_weights)

    @property
    def weights(self) -> int:
        return self.input_weights + sum(self.layer_weights) + self.output_weights

    def experts_of(self, layers: Iterable[int]) -> int:
        """Bytes of the experts of some layers."""
        return sum(self.layer_experts[layer] for layer in layers)

    @property
    def kv(self) -> int:
        return sum(self.layer_kv)

    @property
    def total(self) -> int:
        """All of it on one device."""
        return self.weights + self.kv + self.compute + self.output


@dataclass(frozen=True)
class Verdict:
    """A judgement of what fits, and a sentence for people with both numbers and the fix."""

    fits: bool
    needed_bytes: int
    available_bytes: int
    text: str


def estimate(  # noqa: PLR0913  # llama.cpp's own parameters, all by keyword
    info: ModelFile,
    n_ctx: int,
    n_parallel: int = 1,
    *,
    type_k: str = "f16",
    type_v: str = "f16",
    n_ubatch: int = _DEFAULT_UBATCH,
    kv_unified: bool = False,
    flash_attn: bool = True,
    swa_full: bool = True,
) -> MemoryEstimate:
    """The memory that `info` takes when served to `n_parallel` sequences of `n_ctx` tokens each.

    `swa_full`: layers with a sliding window keep as many cells as others, not only those of windows. A header
    without the sizes it should have counts as 0. Raises ContextError for an unknown `type_k` or `type_v`.
    """
    n_layer = info.n_layer or 0
    cells = pad_cells(n_ctx)
    all_cells = cells * n_parallel
    window_cells = all_cells if swa_full else _window_cells(info, cells, n_parallel, n_ubatch)
    has_window = [*info.window_layers, *[False] * n_layer]
    layer_weights, layer_experts = [0] * n_layer, [0] * n_layer
    input_weights = output_weights = largest_experts = 0
    for tensor in info.tensors:
        layer = re.match(r"blk\.(\d+)\.", tensor.name)
        if layer and int(layer[1]) < n_layer:
            layer_weights[int(layer[1])] += tensor.nbytes
            if layer_of_experts(tensor.name) is not None:
                layer_experts[int(layer[1])] += tensor.nbytes
                largest_experts = max(largest_experts, tensor.nbytes)
        elif tensor.name.startswith(("token_embd", "per_layer_token_embd", "token_types", "position_embd")):
            input_weights += tensor.nbytes
        else:
            output_weights += tensor.nbytes
    return MemoryEstimate(
        input_weights=input_weights,
        layer_weights=tuple(layer_weights),
        output_weights=output_weights,
        layer_kv=tuple(
            n_bytes * (window_cells if has_window[layer] else all_cells) + state * n_parallel
            for layer, (n_bytes, state) in enumerate(
                zip(kv_bytes_per_token(info, type_k, type_v), _state_bytes(info, n_layer), strict=True)
            )
        ),
        compute=_compute_bytes(info, n_ubatch, all_cells if kv_unified else cells, flash_attn=flash_attn),
        output=(info.n_vocab or 0) * 4 * n_parallel,
        layer_experts=tuple(layer_experts),
        largest_experts=largest_experts,
    )


def estimate_pooled(
    info: ModelFile,
    n_cells: int,
    n_batch: int,
    *,
    has_memory: bool,
    type_k: str = "f16",
    type_v: str = "f16",
    flash_attn: bool = True,
) -> MemoryEstimate:
    """The memory that `info` takes when it makes vectors of at most `n_batch` tokens at once.

    llama.cpp keeps room for logits of all of them, which no encoder computes. Without `has_memory`, as
    encoders are, there is no KV cache. Raises ContextError as `estimate`.
    """
    whole = estimate(
        info,
        n_cells,
        type_k=type_k,
        type_v=type_v,
        n_ubatch=n_batch,
        kv_unified=True,
        flash_attn=flash_attn,
    )
    n_vocab, n_embd = info.n_vocab or 0, info.n_embd or 0
    compute = whole.compute
    if not has_memory:
        compute = _compute_bytes(info, n_batch, n_cells, flash_attn=flash_attn, n_logits=0)
    return replace(
        whole,
        layer_kv=whole.layer_kv if has_memory else (0,) * whole.n_layer,
        compute=compute,
        output=4 * (n_vocab + n_embd) * n_batch,
    )


def pad_cells(n_ctx: int) -> int:
    """The KV cells that llama.cpp gives a sequence of `n_ctx` tokens."""
    return -(-n_ctx // CELL_PADDING) * CELL_PADDING


def _window_cells(info: ModelFile, cells: int, n_parallel: int, n_ubatch: int) -> int:
    """The cells of a layer that keeps only windows, in the layout that takes more.

    Each sequence has a window and a step of its own, while its cells are its own.
    """
    window = info.hyperparameter("attention.sliding_window") or cells
    return min(cells, pad_cells(window + n_ubatch)) * n_parallel


def kv_bytes_per_token(info: ModelFile, type_k: str = "f16", type_v: str = "f16") -> list[int]:
    """Bytes of keys and values that each layer keeps per token. Raises ContextError."""
    k, v = _kv_type(type_k), _kv_type(type_v)
    return [_row_bytes(key, k) + _row_bytes(value, v) for key, value in _kv_widths(info)]


def _kv_type(name: str) -> QuantizationType:
    entry = _KV_TYPES.get(name.lower())
    if entry is None:
        raise ContextError(f"a KV cache can't be of type `{name}`; choose one of {', '.join(_KV_TYPES)}")
    return entry


def _row_bytes(width: int, entry: QuantizationType) -> int:
    return -(-width // entry.block_size) * entry.block_bytes


def _kv_widths(info: ModelFile) -> list[tuple[int, int]]:
    """Numbers cached per token in each layer: of keys, and of values."""
    n_layer, n_embd = info.n_layer or 0, info.n_embd or 0
    heads = _per_layer(info, "attention.head_count", n_layer)
    kv_heads = _per_layer(info, "attention.head_count_kv", n_layer) or heads
    if not heads:
        return [(0, 0)] * n_layer
    listed = _linear_layers(info, n_layer) or [False] * n_layer
    used = n_layer - (info.hyperparameter("nextn_predict_layers") or 0)
    attends = [n > 0 and not listed[layer] and layer < used for layer, n in enumerate(kv_heads)]
    lora_rank = info.hyperparameter("attention.kv_lora_rank")
    if lora_rank:  # latent attention keeps one compressed row and the rotated part of the key
        row = lora_rank + (info.hyperparameter("rope.dimension_count") or 0)
        return [(row if attending else 0, 0) for attending in attends]
    default = n_embd // max(*heads, 1)
    key = info.hyperparameter("attention.key_length") or default
    value = info.hyperparameter("attention.value_length") or default
    return [(n * key, n * value) if attends[layer] else (0, 0) for layer, n in enumerate(kv_heads)]


def _linear_layers(info: ModelFile, n_layer: int) -> list[bool]:
    """Return for each layer of a hybrid True if its attention is linear; nothing if the header is silent."""
    listed = _per_layer(info, "attention.recurrent_layers", n_layer)
    if listed:
        return [one != 0 for one in listed]
    interval = info.hyperparameter("full_attention_interval")
    return [(layer + 1) % interval != 0 for layer in range(n_layer)] if interval else []


def _state_bytes(info: ModelFile, n_layer: int) -> list[int]:
    """Bytes of recurrent state (Mamba, linear attention) that each layer keeps per sequence, f32."""
    inner, state = info.hyperparameter("ssm.inner_size"), info.hyperparameter("ssm.state_size")
    kernel, channels = info.hyperparameter("ssm.conv_kernel") or 1, info.hyperparameter("kda.head_dim")
    linear = _linear_layers(info, n_layer)
    heads = max(_per_layer(info, "attention.head_count", n_layer), default=0)
    key = info.hyperparameter("attention.key_length") or (info.n_embd or 0) // max(heads, 1)
    if inner and state:
        groups = info.hyperparameter("ssm.group_count") or 0
        numbers = (kernel - 1) * (inner + 2 * groups * state) + inner * state
    elif channels:  # delta attention: three convolutions, and a square for each head
        numbers = 3 * (kernel - 1) * heads * channels + heads * channels * channels
    else:
        numbers = heads * key * key if any(linear) else 0
    if not linear:
        kv_heads = _per_layer(info, "attention.head_count_kv", n_layer)
        linear = [n == 0 for n in kv_heads] if 0 in kv_heads else [True] * n_layer
    used = n_layer - (info.hyperparameter("nextn_predict_layers") or 0)
    return [4 * numbers if one and layer < used else 0 for layer, one in enumerate(linear)]


def _per_layer(info: ModelFile, key: str, n_layer: int) -> list[int]:
    values = [int(value) for value in info.per_layer(key)]
    return values if len(values) == n_layer else []


def _compute_bytes(
    info: ModelFile, n_ubatch: int, cells: int, *, flash_attn: bool, n_logits: int | None = None
) -> int:
    """Working memory: the largest of the output, the feed-forward and the attention, f32 per token.

    With flash attention the scores are never stored, only a mask of f16. `n_logits`: None for the
    vocabulary's.
    """
    n_embd = info.n_embd or 0
    heads = max(_per_layer(info, "attention.head_count", info.n_layer or 0), default=0)
    n_ff = max((int(value) for value in info.per_layer("feed_forward_length")), default=0)
    experts = info.hyperparameter("expert_used_count") or 0
    n_ff = max(n_ff, experts * (info.hyperparameter("expert_feed_forward_length") or n_ff))
    width_kv = max((key + value for key, value in _kv_widths(info)), default=0)
    per_token = [((info.n_vocab or 0) if n_logits is None else n_logits) + 2 * n_embd]
    if flash_attn:
        per_token.append(3 * n_ff + 4 * n_embd + cells // 2)
    else:
        per_token.append(3 * n_ff + 4 * n_embd + cells)
        per_token.append(heads * cells + cells + 5 * n_embd + width_kv)
    return 4 * n_ubatch * max(per_token)


def host_bytes(needs: MemoryEstimate, n_gpu_layers: int = 0, cpu_experts: Sequence[int] = ()) -> int:
    """Bytes that stay in the machine's own memory when `n_gpu_layers` are on devices.

    Of the layers `cpu_experts` among those the experts stay.
    """
    on_host = max(needs.n_layer + 1 - n_gpu_layers, 0)
    layers = sum(needs.layer_weights[:on_host]) + sum(needs.layer_kv[:on_host])
    layers += needs.experts_of(layer for layer in cpu_experts if layer >= on_host)
    output = needs.output_weights if n_gpu_layers == 0 else 0
    return needs.input_weights + layers + output + needs.compute + needs.output


def fits_in_memory(
    needs: MemoryEstimate,
    available_bytes: int,
    n_gpu_layers: int = 0,
    extra_bytes: int = 0,
    *,
    cpu_experts: Sequence[int] = (),
) -> Verdict:
    """Judge if the part that isn't on a device fits the machine's available memory with `extra_bytes`."""
    needed = host_bytes(needs, n_gpu_layers, cpu_experts) + extra_bytes
    place = "beside the GPU" if n_gpu_layers else "in memory"
    numbers = f"needs {format_bytes(needed)} {place}, {format_bytes(available_bytes)} are available"
    if needed <= available_bytes:
        return Verdict(True, needed, available_bytes, f"fits: {numbers}")
    smaller = "choose a smaller type, or lower --ctx or --parallel"
    return Verdict(False, needed, available_bytes, f"doesn't fit: {numbers}; {smaller}")


def format_bytes(n_bytes: int) -> str:
    """ "4.4 GiB", "512 MiB", "12 KiB"."""
    if n_bytes >= GIB:
        return f"{n_bytes / GIB:.1f} GiB"
    if n_bytes >= MIB:
        return f"{n_bytes / MIB:.0f} MiB"
    return f"{n_bytes / 1024:.0f} KiB"
