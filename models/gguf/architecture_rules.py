"""Header values that llama.cpp asserts on, architecture by architecture, when it builds a graph.

A failed assertion ends the process. The lists are those of llama.cpp's sources (`src/models/*.cpp`); a test
compares them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from models.gguf.hyperparameters import MAX_LAYERS, Hyperparameters
from models.gguf.reader import GGUFTensor

_PROJECTION = re.compile(r"(?:enc\.|dec\.)?blk\.(?P<layer>\d{1,4})\.attn_(?P<part>q|k|v|qkv)\.weight")


def _names(text: str) -> frozenset[str]:
    """Return the architectures that `text` lists."""
    return frozenset(text.split())


EQUAL_HEADS = _names(
    """
    afmoe apertus arcee arctic baichuan bailingmoe2 bert bitnet bloom chameleon chatglm codeshell cogvlm
    cohere2 cohere2moe command-r dbrx deci deepseek dflash dots1 dream eagle3 ernie4_5 ernie4_5-moe
    eurobert exaone exaone-moe exaone4 falcon glm4 glm4moe gpt2 gptneox granite granite_swa granitehybrid
    granitemoe graniteswitch grok grovemoe hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 internlm2 jais jais2
    jina-bert-v2 jina-bert-v3 laguna llada llada-moe llama llama-embed llama4 maincoder maple mellum
    minicpm minimax-01 minimax-m2 minimax-m3 mistral3 modern-bert mpt muse-glimmer nanbeige nemotron
    nemotron_h nemotron_h_moe neo-bert nomic-bert nomic-bert-moe olmo olmo2 olmoe openelm orion paddleocr
    pangu-embedded phi2 phi3 phimoe plamo pockettts qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe
    qwen3moe qwen3next qwen3vl qwen3vlmoe qwen4exp refact rnd1 seed_oss smallthinker smollm3 spark2_5
    stablelm starcoder starcoder2 t5 t5encoder talkie xverse
    """
)
"""The architectures whose keys and values must have heads of one size."""

WHOLE_ROTATION = _names(
    """
    apertus arcee arctic baichuan chameleon codeshell cogvlm cohere2moe dbrx deci deepseek dots1
    dream ernie4_5 ernie4_5-moe exaone exaone-moe exaone4 falcon granite granite_swa granitemoe
    graniteswitch grok grovemoe hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 internlm2 jais2 llada
    llada-moe llama llama-embed llama4 maincoder mellum minicpm mistral3 olmo olmo2 olmoe orion
    paddleocr pangu-embedded plamo pockettts qwen2 qwen2moe qwen2vl qwen3 qwen3moe qwen3vl
    qwen3vlmoe rnd1 seed_oss smallthinker smollm3 starcoder2 talkie xverse
    """
)
"""The architectures whose heads must be rotated as a whole."""

LLAMAS = _names(
    """
    apertus arcee hrm_text jais jais2 llama-embed llama4 maincoder maple mellum mistral3 nanbeige olmo
    olmoe orion pangu-embedded seed_oss spark2_5 talkie
    """
)
"""The architectures of Llama's cousins, a part of PLAIN_ATTENTION."""

IMAGE_TOKENS_END = 8196
"""Chameleon's tokens of images are those from 4 on and before this one."""

DEFAULT_GATING = _names(
    """
    afmoe cohere2moe deepseek2 deepseek2-ocr glm-dsa glm4moe glm5-next hy_v3 laguna step35
    """
)
"""The architectures that have a gating function of their own where a file says 0, "none"."""

PLAIN_ATTENTION = LLAMAS | _names(
    """
    afmoe arctic baichuan bailingmoe bailingmoe2 bert bitnet bloom chameleon chatglm codeshell cohere2
    command-r dbrx deci deepseek dots1 ernie4_5 ernie4_5-moe eurobert exaone exaone-moe exaone4 falcon
    gemma gemma-embedding gemma2 gemma3 gemma3n glm4 glm4moe gpt-oss gpt2 gptneox granite granite_swa
    granitemoe grok grovemoe hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 internlm2 jina-bert-v2 laguna
    llama minicpm minimax-m2 minimax-m3 modern-bert mpt nemotron neo-bert nomic-bert nomic-bert-moe
    olmo2 openelm phi2 phi3 phimoe qwen qwen2 qwen2moe qwen2vl qwen3 qwen3moe qwen3vl qwen3vlmoe refact
    smallthinker smollm3 stablelm starcoder starcoder2 step35 t5 t5encoder
    """
)
"""The architectures whose projections have the rows of their heads; layers of `deci` may have none."""

LATENT_ATTENTION = _names("deepseek2 deepseek32 dots3note glm-dsa minicpm3")
"""The architectures whose keys and values are made from a latent vector, with a rotated part beside it."""

INDEXED_ATTENTION = _names("deepseek32 dots3note glm-dsa")
"""Those of them in which an indexer's heads choose the tokens, rotated by a Hadamard matrix."""

BLOCK_INDEXER = ("head_count", "key_length", "top_k", "block_size", "local_blocks")
"""The numbers of an indexer that chooses blocks of tokens."""

HYBRID = _names("falcon-h1 granitehybrid jamba lfm2 lfm2moe nemotron_h nemotron_h_moe")
"""The architectures some of whose layers attend, with projections that have the rows of their heads."""

STATE_SPACES = _names("falcon-h1 granitehybrid mamba2 nemotron_h nemotron_h_moe")
"""The architectures with layers of Mamba 2."""

RECURRENT = _names("mamba mamba2")
"""The architectures in which no layer attends."""

TWICE_AS_WIDE = _names("granitehybrid jamba")
"""The architectures whose state spaces must have twice the embedding's numbers."""
GEMMA3N_OWN_CACHES = 20
"""The number of Gemma 3n's layers with keys and values of their own: llama.cpp reads it from no key."""

GATING_FUNCTIONS = range(1, 5)
"""llama.cpp's gating functions: softmax, sigmoid, softmax of the chosen, square root of softplus."""

DELTA_NETS = _names("qwen35 qwen35moe qwen3next")
"""The architectures whose layers of linear attention are gated delta nets, and whose queries have gates."""

DELTA_LATENT = _names("bailingmoe3 kimi-linear")
"""The architectures with layers of delta attention between those of latent attention."""

LINEAR_ATTENTION = DELTA_NETS | DELTA_LATENT | _names("minimax-01")
"""The architectures most of whose layers have a state for each head instead of keys and values."""

GATED_WINDOWS = "muse-glimmer"
"""The architecture whose attention is plain but for a gate of its result."""


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
    if keys.prefix == "minimax-m3":
        yield from _count_faults(keys, [f"attention.indexer.{key}" for key in BLOCK_INDEXER])
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
    if keys.integer("block_count") != stack * high * (low + 1):
        yield f"{keys.name('block_count')} isn't {stack * high * (low + 1)}, as its cycles have it"


def _head_size_faults(keys: Hyperparameters) -> Iterator[str]:
    key, value, rotated = keys.key_length, keys.value_length, keys.rotated
    if not key:
        return
    if keys.prefix in EQUAL_HEADS and key != value:
        yield f"heads of {keys.prefix} have {key} numbers for keys and {value} for values: not the same"
    elif keys.prefix in WHOLE_ROTATION and key != rotated:
        yield f"{keys.name('rope.dimension_count')} is {rotated}, and a head has {key} numbers: not the same"


def _gating_faults(keys: Hyperparameters) -> Iterator[str]:
    function = keys.integer("expert_gating_func")
    if function is None or function in GATING_FUNCTIONS or not keys.integer("expert_count"):
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
        if key < 2 or key % 2 or key != value:
            yield f"{keys.name('attention.key_length' + suffix)} is {key}, of values {value} (even, the same)"
        elif rotated is not None and (rotated % 2 or not 2 <= rotated <= key):
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
