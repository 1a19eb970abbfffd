"""Checks for values in a well-formed GGUF file on which llama.cpp would abort or crash. Pure.

llama.cpp throws for most bad values, which is harmless; listed here are those that end in a failed assertion,
or that no model can have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from models.gguf.architecture_rules import architecture_faults
from models.gguf.head_rules import DRAFT_TO_TARGET
from models.gguf.hyperparameters import MAX_LAYERS, Hyperparameters, Metadata
from models.gguf.reader import GGUFArray, GGUFTensor

MAX_EXPERTS = 1024
MAX_WIDTH = 1 << 20
ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
NO_WEIGHTS = frozenset(("I8", "I16", "I32", "I64", "F64"))
"""The types of numbers that llama.cpp computes no weights with."""


def model_faults(metadata: Metadata, tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    """Yield the reasons not to load a model with these hyper-parameters and tensors."""
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        yield "it has no general.architecture"
        return
    keys = Hyperparameters(metadata, architecture)
    yield from _size_faults(keys)
    yield from _head_faults(keys)
    yield from _expert_faults(keys)
    yield from _float_faults(keys)
    scaling = keys.get("rope.scaling.type")
    if scaling is not None and scaling not in ROPE_SCALINGS:
        yield f"{keys.name('rope.scaling.type')} is {scaling!r} (known: {' '.join(ROPE_SCALINGS)})"
    yield from _tensor_faults(tensors)
    yield from architecture_faults(keys, tensors)


def vocabulary_faults(metadata: Metadata) -> Iterator[str]:
    """Yield the reasons not to load a model with this vocabulary; none if there is no vocabulary."""
    keys = Hyperparameters(metadata, "tokenizer.ggml")
    model = keys.get("model")
    if model in (None, "no_vocab", "none"):
        return
    tokens = keys.get("tokens")
    if not isinstance(tokens, GGUFArray) or tokens.element_type != "str" or tokens.length == 0:
        yield "tokenizer.ggml.tokens is no array of strings"
        return
    for key, allowed in (("scores", ("f32", "i32")), ("token_type", ("i32",))):
        array = keys.get(key)
        if array is None:
            continue
        if not isinstance(array, GGUFArray) or array.element_type not in allowed:
            yield f"tokenizer.ggml.{key} is no array of {' or '.join(allowed)}"
        elif array.length < tokens.length:
            yield f"tokenizer.ggml.{key} has {array.length:,} entries for {tokens.length:,} tokens"
    merges = keys.get("merges")
    if merges is not None and (not isinstance(merges, GGUFArray) or merges.element_type != "str"):
        yield "tokenizer.ggml.merges is no array of strings"
    for key in ("bos_token_id", "eos_token_id"):
        token = keys.get(key)
        if isinstance(token, int) and not 0 <= token < tokens.length:
            yield f"tokenizer.ggml.{key} is {token} in a vocabulary of {tokens.length:,}"
    yield from _token_faults(tokens, is_sentencepiece=model == "llama")


def _token_faults(tokens: GGUFArray, *, is_sentencepiece: bool) -> Iterator[str]:
    distinct: dict[bytes, int] = {}
    twice: list[str] = []
    for token, whole in enumerate(tokens.strings()):
        # llama.cpp ends a text at a zero byte, and names an empty one by its id.
        text = whole.partition(b"\0")[0] or b"[EMPTY_%d]" % token
        if text in distinct:
            shown = text[:80].decode("utf-8", "replace")
            twice.append(f"{shown!r} under the ids {distinct[text]} and {token}")
        else:
            distinct[text] = token
    if twice:
        yield f"its vocabulary lists {len(twice)} tokens twice: {', '.join(twice[:3])}"
    if is_sentencepiece:
        # llama.cpp falls back to these for text outside the vocabulary, and throws through its C API without.
        missing = [b for b in range(256) if b"<0x%02X>" % b not in distinct and bytes([b]) not in distinct]
        if missing:
            yield f"its SentencePiece vocabulary lacks {len(missing)} of the 256 byte tokens"


def _size_faults(keys: Hyperparameters) -> Iterator[str]:
    for key, most in (
        ("block_count", MAX_LAYERS),
        ("embedding_length", MAX_WIDTH),
        ("context_length", 2**31 - 1),
    ):
        value = keys.get(key)
        if value is None:
            yield f"it has no {keys.name(key)}"
        elif not isinstance(value, int) or not 1 <= value <= most:
            yield f"{keys.name(key)} is {_shown(value)} (1 to {most:,})"
    n_layer = keys.integer("block_count")
    for key in ("feed_forward_length", "attention.head_count", "attention.head_count_kv"):
        value = keys.get(key)
        if isinstance(value, GGUFArray) and value.length != n_layer:
            yield f"{keys.name(key)} has {value.length:,} entries for {n_layer} layers"
        most = MAX_WIDTH * 16
        if any(not 0 <= number <= most for number in keys.per_layer(key)):
            yield f"{keys.name(key)} is {_shown(value)} (0 to {most:,})"
    for key in ("vocab_size", "attention.key_length", "attention.value_length", "attention.sliding_window"):
        value = keys.get(key)
        if isinstance(value, int) and not 0 <= value < 2**31:
            yield f"{keys.name(key)} is {value} (0 to {2**31 - 1})"


def _tensor_faults(tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    for tensor in tensors:
        is_table = tensor.type == "I32" and tensor.name.endswith(".ffn_gate_tid2eid.weight")
        is_table |= tensor.type == "I64" and tensor.name == DRAFT_TO_TARGET
        if tensor.type in NO_WEIGHTS and not is_table:
            yield f"{tensor.name} has the type {tensor.type}, with which no weights are computed"
        elif (
            not is_table
            and tensor.type != "F32"
            and (len(tensor.shape) == 1 or tensor.name.endswith("_norm.weight"))
        ):
            yield f"{tensor.name} has the type {tensor.type}; biases and norms must be F32"


def _head_faults(keys: Hyperparameters) -> Iterator[str]:
    heads = keys.per_layer("attention.head_count")
    kv_heads = keys.per_layer("attention.head_count_kv") or heads
    n_layer = keys.integer("block_count") or 0
    if not heads or n_layer > MAX_LAYERS:
        return
    layers = max(len(heads), len(kv_heads))
    for all_heads, kv in zip(_spread(heads, layers), _spread(kv_heads, layers), strict=False):
        if all_heads > 0 and kv > 0 and (kv > all_heads or all_heads % kv):
            yield f"{all_heads} attention heads can't share {kv} key-value heads"
            break
    n_embd, n_head = keys.integer("embedding_length") or 0, int(max(heads))
    head_size = keys.integer("attention.key_length")
    if head_size is None and n_head > 0 and len(heads) == 1:
        if n_embd % n_head:
            yield f"an embedding of {n_embd} can't be divided among {n_head} attention heads"
        head_size = n_embd // n_head
    rotated = keys.integer("rope.dimension_count")
    if rotated is not None and head_size is not None and (rotated % 2 or not 0 <= rotated <= head_size):
        yield f"{keys.name('rope.dimension_count')} is {rotated} (even, at most {head_size})"


def _expert_faults(keys: Hyperparameters) -> Iterator[str]:
    experts = keys.integer("expert_count") or 0
    used = max(keys.per_layer("expert_used_count"), default=0)
    groups, groups_used = (
        keys.integer("expert_group_count") or 0,
        keys.integer("expert_group_used_count") or 0,
    )
    if not 0 <= experts <= MAX_EXPERTS:
        yield f"it claims {experts:,} experts (at most {MAX_EXPERTS:,})"
    elif not 0 <= used <= experts or (experts > 0 and used == 0):
        yield f"it uses {used} of {experts} experts"
    elif groups and (
        groups >= experts or (groups > 1 and (experts % groups or not 0 < groups_used < groups))
    ):
        yield f"it uses {groups_used} of {groups} groups of {experts} experts"


def _float_faults(keys: Hyperparameters) -> Iterator[str]:
    for key, least, most in (
        ("attention.layer_norm_rms_epsilon", 0.0, 1.0),
        ("attention.layer_norm_epsilon", 0.0, 1.0),
        ("attention.group_norm_epsilon", 0.0, 1.0),
        ("rope.freq_base", 0.0, 1e30),
        ("rope.scaling.factor", 0.0, 1e9),
    ):
        value = keys.get(key)
        if isinstance(value, float) and not (math.isfinite(value) and least <= value <= most):
            yield f"{keys.name(key)} is {value} ({least:g} to {most:g})"


def _spread(values: list[int | float], count: int) -> list[int | float]:
    return values * count if len(values) == 1 else values


def _shown(value: object) -> str:
    return f"an array of {value.length:,}" if isinstance(value, GGUFArray) else repr(value)[:80]
