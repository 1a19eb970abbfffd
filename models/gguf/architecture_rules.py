"""Header values that llama.cpp asserts on, architecture by architecture, when it builds a graph.

A failed assertion ends the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from models.gguf.architecture_lists import (
    COUNTS,
    DEFAULT_GATING,
    DELTA_LATENT,
    DELTA_NETS,
    EQUAL_HEADS,
    EXPERTS_ONLY,
    GATED_WINDOWS,
    GATING_FUNCTIONS,
    GATING_NEEDED,
    GEMMA3N_OWN_CACHES,
    HYBRID,
    IMAGE_TOKENS_END,
    INDEXED_ATTENTION,
    LATENT_ATTENTION,
    LINEAR_ATTENTION,
    PLAIN_ATTENTION,
    SAME_WIDTH,
    SHORT_CONVOLUTIONS,
    STATE_SPACES,
    TEMPERATURES,
    TWICE_AS_WIDE,
    WHOLE_ROTATION,
)
from models.gguf.head_rules import head_faults
from models.gguf.hyperparameters import MAX_LAYERS, Hyperparameters
from models.gguf.layer_rules import layer_kind_faults
from models.gguf.reader import GGUFTensor

_PROJECTION = re.compile(r"(?:enc\.|dec\.)?blk\.(?P<layer>\d{1,4})\.attn_(?P<part>q|k|v|qkv)\.weight")
_GATE = re.compile(r"blk\.(?P<layer>\d{1,4})\.attn_gate\.weight")


def architecture_faults(keys: Hyperparameters, tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    """Yield the reasons for which a graph of this model can't be built."""
    yield from _linear_attention_faults(keys, tensors)
    yield from _layer_faults(keys)
    yield from _head_size_faults(keys)
    yield from _gating_faults(keys)
    if keys.prefix in PLAIN_ATTENTION | HYBRID:
        yield from _plain_attention_faults(keys, tensors)
    if keys.prefix in LATENT_ATTENTION:
        yield from _latent_attention_faults(keys)
    if keys.prefix in INDEXED_ATTENTION:
        yield from _indexer_faults(keys)
    yield from _count_faults(keys, COUNTS.get(keys.prefix, ()))
    yield from _expert_faults(keys)
    yield from layer_kind_faults(keys, tensors)
    yield from _number_faults(keys)
    if keys.prefix == "laguna":
        yield from _gate_faults(keys, tensors)
    if keys.prefix == "nanbeige":
        yield from _loop_faults(keys)
    if keys.prefix == "hrm_text":
        yield from _cycle_faults(keys)
    yield from _section_faults(keys)
    yield from _state_space_faults(keys)
    if keys.prefix == "gemma4":
        yield from _two_kinds_faults(keys)
    if keys.prefix in ("gemma3n", "gemma4"):
        yield from _shared_cache_faults(keys)
    if keys.prefix == "chameleon":
        yield from _image_token_faults(tensors)
    if keys.prefix == "eagle3":
        yield from head_faults(keys, tensors)
    if keys.prefix == "jina-bert-v2":
        yield from _gated_feed_forward_faults(keys, tensors)


def _image_token_faults(tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    """Yield a vocabulary that ends before the tokens of images, whose logits llama.cpp overwrites unseen."""
    for tensor in tensors:
        if tensor.name in ("token_embd.weight", "output.weight") and tensor.shape[-1] < IMAGE_TOKENS_END:
            yield f"{tensor.name} has {tensor.shape[-1]} rows (from {IMAGE_TOKENS_END} on)"


def _layer_faults(keys: Hyperparameters) -> Iterator[str]:
    n_layers = keys.integer("block_count") or 0
    predicting = keys.integer("nextn_predict_layers")
    if predicting is not None and not 0 <= predicting < max(n_layers, 1):
        yield f"{keys.name('nextn_predict_layers')} is {predicting} of {n_layers} layers (fewer)"


def _loop_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield what is wrong with layers that are gone through several times."""
    n_loops = keys.integer("num_loops")
    if n_loops is None:
        return
    most = MAX_LAYERS // max(keys.integer("block_count") or 1, 1)
    if not 1 <= n_loops <= most:
        yield f"{keys.name('num_loops')} is {n_loops} (1 to {most})"


def _cycle_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield what is wrong with two stacks of layers that are gone through in turns."""
    names = ("hrm.layers_per_stack", "hrm.h_cycles", "hrm.l_cycles")
    values = [keys.integer(name) or 0 for name in names]
    for name, value in zip(names, values, strict=True):
        if not 1 <= value <= MAX_LAYERS:
            yield f"{keys.name(name)} is {value} (1 to {MAX_LAYERS})"
            return
    stack, high, low = values
    if keys.integer("nextn_predict_layers"):
        yield f"{keys.name('nextn_predict_layers')} isn't 0, and such layers are in no cycle"
    if keys.integer("block_count") != stack * high * (low + 1):
        yield f"{keys.name('block_count')} isn't {stack * high * (low + 1)}, as its cycles have it"


def _head_size_faults(keys: Hyperparameters) -> Iterator[str]:
    key, value, rotated = keys.key_length, keys.value_length, keys.rotated
    if not key:
        return
    if keys.prefix in EQUAL_HEADS | SHORT_CONVOLUTIONS and key != value:
        yield f"heads of {keys.prefix} have {key} numbers for keys and {value} for values: not the same"
    elif keys.prefix in WHOLE_ROTATION and key != rotated:
        yield f"{keys.name('rope.dimension_count')} is {rotated}, and a head has {key} numbers: not the same"


def _gating_faults(keys: Hyperparameters) -> Iterator[str]:
    function = keys.integer("expert_gating_func")
    if function in GATING_FUNCTIONS or not keys.integer("expert_count"):
        return
    if function is None and keys.prefix not in GATING_NEEDED:
        return
    if function == 0 and keys.prefix in DEFAULT_GATING:
        return
    known = f"{GATING_FUNCTIONS.start} to {GATING_FUNCTIONS.stop - 1}"
    yield f"{keys.name('expert_gating_func')} is {function} ({known})"


def _plain_attention_faults(keys: Hyperparameters, tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    key, value = keys.key_length, keys.value_length
    for name in ("rope.dimension_count", "rope.dimension_count_swa"):
        rotated = keys.integer(name)
        if rotated is not None and (rotated % 2 or not 2 <= rotated <= max(key, 2)):
            yield f"{keys.name(name)} is {rotated} (even, 2 to {key})"
    for name, length in (("attention.key_length_swa", key), ("attention.value_length_swa", value)):
        given = keys.integer(name)
        if given is not None and given != length:
            yield f"{keys.name(name)} is {given}, and {keys.prefix} has heads of {length} numbers"
    for tensor in tensors:
        match = _PROJECTION.fullmatch(tensor.name)
        if match is None or len(tensor.shape) != 2:
            continue
        layer, part = int(match["layer"]), match["part"]
        n_q, n_kv = keys.heads(layer), keys.kv_heads(layer)
        if n_q < 1:
            yield f"{keys.name('attention.head_count')} is {n_q} in layer {layer} (1 or more)"
            return
        rows = {"q": n_q * key, "k": n_kv * key, "v": n_kv * value, "qkv": n_q * key + n_kv * (key + value)}[
            part
        ]
        if tensor.shape[1] != rows:
            yield (
                f"{tensor.name} has {tensor.shape[1]:,} rows; {n_q} heads and {n_kv} key-value heads "
                f"of {key} numbers need {rows:,}"
            )
            return


def _latent_attention_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield what is wrong with heads whose keys are a latent vector and a rotated part."""
    rotated, rank = keys.rotated, keys.integer("attention.kv_lora_rank") or 0
    whole = keys.integer("attention.key_length_mla")
    if (keys.key_length if whole is None else whole) <= rotated:
        yield f"{keys.name('rope.dimension_count')} is {rotated}: nothing of a head is left without rotation"
    if rotated % 2 or rotated < 2:
        yield f"{keys.name('rope.dimension_count')} is {rotated} (even, 2 or more)"
    if whole is not None and (keys.key_length, keys.value_length) != (rank + rotated, rank):
        yield (
            f"{keys.name('attention.key_length')} and value_length are {keys.key_length} and "
            f"{keys.value_length}; by kv_lora_rank and rope.dimension_count {rank + rotated} and {rank}"
        )
    if keys.integer("attention.kv_lora_rank_swa") is not None:
        yield from _sliding_latent_faults(keys, rotated)


def _sliding_latent_faults(keys: Hyperparameters, rotated: int) -> Iterator[str]:
    """Yield what is wrong with the sizes of layers with a window, where these have their own."""
    rank = keys.integer("attention.kv_lora_rank_swa") or 0
    expected = {"key_length_swa": rank + rotated, "value_length_swa": rank}
    for name, needed in expected.items():
        given = keys.integer(f"attention.{name}")
        if rank < 1 or given != needed:
            yield f"{keys.name(f'attention.{name}')} is {given}; by kv_lora_rank_swa {needed}"
    if (keys.integer("attention.key_length_mla_swa") or 0) <= rotated:
        yield f"{keys.name('attention.key_length_mla_swa')} leaves nothing without rotation"
    if (keys.integer("attention.value_length_mla_swa") or 0) < 1:
        yield f"{keys.name('attention.value_length_mla_swa')} is less than 1"


def _indexer_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield what is wrong with an indexer's heads, and with the one head of keys and values."""
    if (keys.integer("attention.head_count_kv") or 0) != 1:
        yield f"{keys.name('attention.head_count_kv')} must be 1: keys and values are one latent vector"
    size = keys.integer("attention.indexer.key_length") or 0
    if size < max(64, keys.rotated) or size.bit_count() != 1:
        yield (
            f"{keys.name('attention.indexer.key_length')} is {size} (a power of two, 64 or more, and not "
            "less than rope.dimension_count)"
        )
    yield from _count_faults(keys, ["attention.indexer.head_count", "attention.indexer.top_k"])


def _count_faults(keys: Hyperparameters, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        given = keys.integer(name) or 0
        if given < 1:
            yield f"{keys.name(name)} is {given} (1 or more)"


def _state_space_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield what is wrong with the heads and groups of a state space's numbers."""
    inner, n_embd = keys.integer("ssm.inner_size") or 0, keys.integer("embedding_length") or 0
    if keys.prefix in TWICE_AS_WIDE and inner != 2 * n_embd:
        yield f"{keys.name('ssm.inner_size')} is {inner} (twice the embedding's {n_embd})"
    if keys.prefix not in STATE_SPACES:
        return
    for name in ("ssm.time_step_rank", "ssm.group_count"):
        n = keys.integer(name) or 0
        if n < 1 or inner % n:
            yield f"{keys.name(name)} is {n}, and {keys.name('ssm.inner_size')} {inner} (a multiple of it)"


def _two_kinds_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield what is wrong with the sizes of heads that differ between layers with and without a window."""
    for suffix in ("", "_swa"):
        key = keys.integer(f"attention.key_length{suffix}") or 0
        value = keys.integer(f"attention.value_length{suffix}") or 0
        rotated = keys.integer(f"rope.dimension_count{suffix}")
        rotated = keys.rotated if rotated is None else rotated
        if key < 2 or key % 2 or key != value:
            yield f"{keys.name('attention.key_length' + suffix)} is {key}, of values {value} (even, the same)"
        elif rotated % 2 or not 2 <= rotated <= key:
            yield f"{keys.name('rope.dimension_count' + suffix)} is {rotated} (even, 2 to {key})"


def _shared_cache_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield what is wrong with the last layers, which use keys and values of the two layers before them."""
    n_layers = keys.integer("block_count") or 0
    first = n_layers - (keys.integer("attention.shared_kv_layers") or 0)
    if keys.prefix == "gemma3n":
        first = GEMMA3N_OWN_CACHES
    if first < 2:
        yield f"{keys.name('attention.shared_kv_layers')} leaves {first} layers (2 or more)"
        return
    pattern = keys.per_layer("attention.sliding_window_pattern")
    if len(pattern) != n_layers:
        period = int(pattern[0]) if len(pattern) == 1 else 5
        pattern = [period == 0 or (layer + 1) % period != 0 for layer in range(n_layers)]
    for layer in range(first, n_layers):
        if pattern[first - (2 if pattern[layer] else 1)] != pattern[layer]:
            yield (
                f"{keys.name('attention.sliding_window_pattern')} has layers {first - 2} and {first - 1} of "
                f"another kind than layer {layer}, which uses their keys and values"
            )
            return


def _gated_feed_forward_faults(keys: Hyperparameters, tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    """Yield what is wrong with a matrix that may hold the gate, too, as its rows tell."""
    n_ff = next(iter(keys.per_layer("feed_forward_length")), 0)
    for tensor in tensors:
        if tensor.name.endswith(".ffn_up.weight") and tensor.shape[-1] not in (n_ff, 2 * n_ff):
            yield f"{tensor.name} has {tensor.shape[-1]:,} rows; {keys.name('feed_forward_length')} is {n_ff}"
            return


def _linear_attention_faults(keys: Hyperparameters, tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    """Yield what is wrong with a hybrid whose layers of linear attention have tensors of their own."""
    if keys.prefix == GATED_WINDOWS:
        yield from _plain_attention_faults(keys, tensors)
    if keys.prefix in DELTA_LATENT:
        yield from _latent_attention_faults(keys)
    elif keys.prefix in LINEAR_ATTENTION:
        yield from _rotation_faults(keys)
    if keys.prefix in DELTA_NETS:
        yield from _delta_net_faults(keys)


def _rotation_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield what is wrong with the rotated part of a head, and with the distance of layers that attend."""
    if keys.rotated % 2 or not 2 <= keys.rotated <= max(keys.key_length, 2):
        yield f"{keys.name('rope.dimension_count')} is {keys.rotated} (even, 2 to {keys.key_length})"
    if keys.integer("full_attention_interval") == 0:
        yield f"{keys.name('full_attention_interval')} is 0 (1 or more)"


def _delta_net_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield what is wrong with the sizes of linear attention."""
    sizes = ("ssm.conv_kernel", "ssm.state_size", "ssm.group_count", "ssm.time_step_rank")
    kernel, state, n_key, n_value = (keys.integer(name) or 0 for name in sizes)
    if kernel < 2 or min(state, n_key, n_value) < 1:
        yield f"{keys.prefix}.ssm has sizes of {kernel}, {state}, {n_key} and {n_value} (1 or more)"
        return
    if n_value % n_key or keys.integer("ssm.inner_size") != n_value * state:
        yield (
            f"{keys.name('ssm.inner_size')} is {keys.integer('ssm.inner_size')}, with {n_value} value heads "
            f"of {state} numbers and {n_key} key heads"
        )


def _section_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield what is wrong with the parts of a head that turn with time, height, width and nothing."""
    value = keys.get("rope.dimension_sections")
    if value is None:
        return
    numbers = [value] * 4 if isinstance(value, int) else keys.per_layer("rope.dimension_sections")[:4]
    most = keys.key_length
    if min(numbers, default=0) < 0 or not any(numbers[:3]) or sum(numbers) > most:
        yield f"{keys.name('rope.dimension_sections')} is {numbers} (one of three positive, {most} in all)"


def _expert_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield experts that an architecture can't do without, and that are missing."""
    if keys.prefix not in EXPERTS_ONLY or keys.integer("expert_count"):
        return
    n_dense = keys.integer("leading_dense_block_count")
    if keys.prefix != "lfm2moe" or (n_dense or 0) < (keys.integer("block_count") or 0):
        yield f"{keys.name('expert_count')} is {keys.get('expert_count')} (1 or more)"


def _number_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield single numbers that don't go with an architecture, or with another number."""
    n_embd = keys.integer("embedding_length")
    for name in SAME_WIDTH.get(keys.prefix, ()):
        if keys.integer(name) not in (None, 0, n_embd):
            yield f"{keys.name(name)} is {keys.integer(name)}, not the embedding's {n_embd}"
    if keys.prefix in SHORT_CONVOLUTIONS and (keys.integer("shortconv.l_cache") or 0) < 2:
        yield f"{keys.name('shortconv.l_cache')} is {keys.integer('shortconv.l_cache')} (2 or more)"
    if keys.prefix in TEMPERATURES and keys.get("attention.temperature_scale") not in (None, 0.0):
        yield from _count_faults(keys, ["attention.temperature_length"])
    if keys.prefix == "bailingmoe3":
        bound = keys.get("kda.gate_lower_bound")
        if not isinstance(bound, float) or not bound < 0:
            yield f"{keys.name('kda.gate_lower_bound')} is {bound} (less than 0)"
        if keys.get("kda.safe_gate") is False:
            yield f"{keys.name('kda.safe_gate')} is false: llama.cpp has none but safe gates"


def _gate_faults(keys: Hyperparameters, tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    """Yield gates of attention's result that have neither a row for each head nor one for each number."""
    for tensor in tensors:
        if not (found := _GATE.fullmatch(tensor.name)):
            continue
        n_heads, size = keys.heads(int(found["layer"])), keys.key_length
        if tensor.shape[-1] not in (n_heads, n_heads * size):
            yield f"{tensor.name} has {tensor.shape[-1]:,} rows, for {n_heads} heads of {size} numbers"
            return
