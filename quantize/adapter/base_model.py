"""The families that a base model may be of, read back from its GGUF file.

An adapter comes without its base's config.json. The sizes that the file has are written under config.json's
names for them; what llama.cpp always computes in a family is said, where transformers' class has another
default; and the rest doesn't change where a tensor is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from models.errors import CheckpointError, UnknownArchitecture
from models.gguf.info import GGUFInfo
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.families.embedding_gemma import EmbeddingGemma
from quantize.architectures.families.gemma import Gemma2
from quantize.architectures.families.gemma3 import Gemma3
from quantize.architectures.registry import ARCHITECTURES, families_by_gguf_name

Fields = dict[str, Any]

_SIZES: Final[Mapping[str, tuple[str, ...]]] = {
    "embedding_length": ("hidden_size", "d_model"),
    "block_count": ("num_hidden_layers", "num_layers"),
    "decoder_block_count": ("num_decoder_layers",),
    "context_length": ("max_position_embeddings",),
    "attention.key_length": ("head_dim", "d_kv"),
    "expert_count": ("num_experts", "num_local_experts", "n_routed_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size", "shared_intermediate_size"),
    "expert_shared_count": ("n_shared_experts",),
    "leading_dense_block_count": ("first_k_dense_replace",),
}
"""The names in config.json of what a GGUF file has once, by the file's keys."""

_BY_LAYER: Final[Mapping[str, tuple[str, ...]]] = {
    "attention.head_count": ("num_attention_heads", "num_heads"),
    "attention.head_count_kv": ("num_key_value_heads",),
    "feed_forward_length": ("intermediate_size", "n_inner", "d_ff"),
}
"""The same of what it may have for each layer."""

_QUERY_SCALARS: Final[Mapping[str, type[Gemma2]]] = {
    "gemma2": Gemma2,
    "gemma3": Gemma3,
    "gemma-embedding": EmbeddingGemma,
}


def families_of_gguf(base: GGUFInfo) -> tuple[Architecture, ...]:
    """Return every family that such a file may be of, the likeliest first; their tensors' names differ.

    Raises UnknownArchitecture, or CheckpointError.
    """
    families = families_by_gguf_name()
    likeliest = families.get(base.architecture or "")
    if likeliest is None:
        raise UnknownArchitecture(
            f"{base.path.name} has the architecture {base.architecture}, and PEFT adapters can be converted"
            f" here for {', '.join(sorted(families))} only; use llama.cpp's convert_lora_to_gguf.py and give"
            " the GGUF file"
        )
    fields = _config_of(base)
    others = (one for one in ARCHITECTURES if one.gguf_name == base.architecture and one is not likeliest)
    found = [_family(likeliest, fields, base)]
    for family in others:
        try:
            found.append(_family(family, fields, base))
        except CheckpointError:  # that one can't have written the file
            continue
    return tuple(found)


def _family(family: type[Architecture], fields: Mapping[str, Any], base: GGUFInfo) -> Architecture:
    named = {**fields, "architectures": [family.huggingface_names[0]]}
    return family(ModelConfig(named, base.path.name))


def _config_of(base: GGUFInfo) -> Fields:
    """Return what a family's tensor rules need of config.json; the numbers are the GGUF file's."""
    names = {tensor.name: tensor.shape for tensor in base.tensors}
    embedding = names.get("token_embd.weight")
    fields: Fields = {"vocab_size": None if embedding is None else embedding[-1]}
    for key, texts in _SIZES.items():
        fields |= dict.fromkeys(texts, base.hyperparameter(key))
    for key, texts in _BY_LAYER.items():
        fields |= dict.fromkeys(texts, _shared_by_layers(base, key))
    if fields["num_key_value_heads"] is None:
        fields["num_key_value_heads"] = fields["num_attention_heads"]
    known = {name: value for name, value in fields.items() if value is not None}
    known["tie_word_embeddings"] = "output.weight" not in names
    known |= _ALWAYS.get(base.architecture or "", {})
    own = _OF_FAMILIES.get(base.architecture or "")
    return known if own is None else known | own(base, known)


def _shared_by_layers(base: GGUFInfo, key: str) -> int | None:
    """Return a number that all layers share; None if the file doesn't say."""
    values = {value for value in base.per_layer(key) if value}  # a layer of linear attention has no heads
    if len(values) > 1:
        raise CheckpointError(
            f"{base.path.name} has layers of different {key}, which PEFT adapters can't be converted for here"
        )
    value = values.pop() if values else None
    return value if isinstance(value, int) else None


# --- what families have under names of their own, or always compute -----------------------------------------


def _gemma(base: GGUFInfo, known: Fields) -> Fields:
    """Return the scale of attention, which is in no file: llama.cpp computes it of the sizes."""
    family = _QUERY_SCALARS[base.architecture or ""]
    is_largest = known.get("num_hidden_layers") == family.largest_layers
    if not is_largest or not known.get("num_attention_heads") or "hidden_size" not in known:
        return {"query_pre_attn_scalar": known.get("head_dim", 256)}
    return {"query_pre_attn_scalar": known["hidden_size"] // known["num_attention_heads"]}


def _chatglm(_: GGUFInfo, known: Fields) -> Fields:
    own = {
        "multi_query_group_num": known.get("num_key_value_heads"),
        "ffn_hidden_size": known.get("intermediate_size"),
        "head_dim": known.get("head_dim") or _even_head(known),
    }
    return {"multi_query_attention": True} | {name: n for name, n in own.items() if n is not None}


def _even_head(known: Fields) -> int | None:
    """Return the size of heads that share the embedding's, which GLM-4's class has another default for."""
    n_embd, n_head = known.get("hidden_size"), known.get("num_attention_heads")
    return n_embd // n_head if n_embd and n_head else None


def _deepseek2(base: GGUFInfo, known: Fields) -> Fields:
    """Return the sizes of latent attention, which the file describes as one wide head."""
    rotated = base.hyperparameter("rope.dimension_count")
    key, value = (base.hyperparameter(f"attention.{name}_length_mla") for name in ("key", "value"))
    sizes = {
        "num_key_value_heads": known.get("num_attention_heads"),
        "kv_lora_rank": base.hyperparameter("attention.kv_lora_rank"),
        "qk_rope_head_dim": rotated,
        "qk_nope_head_dim": None if key is None or rotated is None else key - rotated,
        "v_head_dim": value,
    }
    present = {name: size for name, size in sizes.items() if size is not None}
    return present | {"q_lora_rank": base.hyperparameter("attention.q_lora_rank")}


def _delta_net(base: GGUFInfo, known: Fields) -> Fields:
    """Return the sizes of linear attention, the layers that have it, and the layers without further ones."""
    n_layer = known.get("num_hidden_layers", 0) - (base.hyperparameter("nextn_predict_layers") or 0)
    sizes = {
        "num_hidden_layers": n_layer,
        "linear_conv_kernel_dim": base.hyperparameter("ssm.conv_kernel"),
        "linear_key_head_dim": base.hyperparameter("ssm.state_size"),
        "linear_value_head_dim": base.hyperparameter("ssm.state_size"),
        "linear_num_key_heads": base.hyperparameter("ssm.group_count"),
        "linear_num_value_heads": base.hyperparameter("ssm.time_step_rank"),
    }
    linear = {tensor.name for tensor in base.tensors if tensor.name.endswith(".ssm_out.weight")}
    kinds = [
        "linear_attention" if f"blk.{layer}.ssm_out.weight" in linear else "full_attention"
        for layer in range(n_layer)
    ]
    return {name: size for name, size in sizes.items() if size is not None} | {"layer_types": kinds}


def _minimax(base: GGUFInfo, known: Fields) -> Fields:
    fused = {tensor.name for tensor in base.tensors if tensor.name.endswith(".attn_qkv.weight")}
    layers = range(known.get("num_hidden_layers", 0))
    return {"attn_type_list": [int(f"blk.{layer}.attn_qkv.weight" not in fused) for layer in layers]}


def _delta_latent(base: GGUFInfo, known: Fields) -> Fields:
    """Return the sizes of both kinds of attention, and the layers whose attention is linear."""
    state, kernel = base.hyperparameter("kda.head_dim"), base.hyperparameter("ssm.conv_kernel")
    linear = {tensor.name for tensor in base.tensors if tensor.name.endswith(".ssm_beta.weight")}
    kinds = [
        "linear_attention" if f"blk.{layer}.ssm_beta.weight" in linear else "full_attention"
        for layer in range(known.get("num_hidden_layers", 0))
    ]
    n_head = known.get("num_attention_heads")
    sizes = {
        **dict.fromkeys(("linear_head_dim", "head_dim"), state),
        **dict.fromkeys(("linear_conv_kernel_dim", "short_conv_kernel_size"), kernel),
        "linear_num_heads": n_head,
    }
    present = {name: size for name, size in sizes.items() if size is not None}
    return _deepseek2(base, known) | present | {"layer_types": kinds}


def _t5(base: GGUFInfo, _: Fields) -> Fields:
    gated = any(".ffn_gate." in tensor.name for tensor in base.tensors)
    return {"feed_forward_proj": "gated-gelu" if gated else "relu"}


_OF_FAMILIES: Final[Mapping[str, Callable[[GGUFInfo, Fields], Fields]]] = {
    "gemma2": _gemma,
    "gemma3": _gemma,
    "gemma-embedding": _gemma,
    "chatglm": _chatglm,
    "deepseek2": _deepseek2,
    "minimax-01": _minimax,
    **dict.fromkeys(("kimi-linear", "bailingmoe3"), _delta_latent),
    **dict.fromkeys(("qwen3next", "qwen35", "qwen35moe"), _delta_net),
    "t5": _t5,
    "t5encoder": _t5,
}

_ALWAYS: Final[Mapping[str, Fields]] = {
    "qwen3moe": {"norm_topk_prob": True},
    "phimoe": {"attention_bias": True, "lm_head_bias": True},
    "gemma-embedding": {"use_bidirectional_attention": True},
}
"""The fields of which llama.cpp computes one value in every file of a family, and not the class's default."""
