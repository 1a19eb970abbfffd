"""GLM-4.5 and later mixtures of experts, the text model of the one that sees, and Solar Open.

The layer that predicts further tokens is kept as the last block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import SEEING_AND_HEARING
from quantize.architectures.base.further_layers import (
    further_layer_metadata,
    further_layer_rules,
    optional_rules,
)
from quantize.architectures.base.moe import expert_count_metadata
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.families.deepseek import GATING, DeepseekExperts
from quantize.architectures.families.glm import missing_token_metadata
from quantize.gguf.header import Metadata, boolean, float32, uint32
from quantize.vocabulary.vocabulary import Vocabulary


class Glm4Moe(DeepseekExperts):
    """Glm4MoeForCausalLM."""

    gguf_name = "glm4moe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Glm4MoeForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 151552,
        "hidden_size": 4096,
        "intermediate_size": 10944,
        "num_hidden_layers": 46,
        "num_attention_heads": 96,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "moe_intermediate_size": 1408,
        "num_experts_per_tok": 8,
        "n_routed_experts": 128,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "num_nextn_predict_layers": 1,
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "num_local_experts": "n_routed_experts",
        "num_mtp_layers": "num_nextn_predict_layers",
    }
    null_kv_heads = False
    own_head_dim = True
    default_bias: ClassVar[bool] = False
    """`attention_bias` where config.json is silent."""

    default_share: ClassVar[float] = 0.5
    """The rotated part of each head where config.json is silent."""

    special_tokens: ClassVar[Mapping[str, str]] = {
        "bos": "[gMASK]",
        "eot": "<|user|>",
        "unk": "<|endoftext|>",
        "eom": "<|observation|>",
    }
    """The special tokens that the tokenizer's files don't name, by their roles."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.size("n_routed_experts")
        config.count("n_shared_experts", self.defaults["n_shared_experts"])
        n_further = self.defaults.get("num_nextn_predict_layers", 0)
        self.n_further = config.count("num_nextn_predict_layers", n_further)
        self.n_main = self.hyperparameters.n_layer
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_layer=self.n_main + self.n_further)

    def metadata(self) -> Metadata:
        config, prefix = self.config, self.gguf_name
        own_size = self.head_size_metadata() if config.has("head_dim") else {}
        scale = config.number("routed_scaling_factor", 1.0)
        keys: Metadata = {
            **self.size_metadata(),
            **self.epsilon_metadata(),
            **own_size,
            **self.rope.metadata(prefix, self.context_length),
            f"{prefix}.rope.dimension_count": uint32(
                int(self.head_dim * self.rotary_share(self.default_share))
            ),
            **expert_count_metadata(prefix, self.hyperparameters.n_expert, self.size("num_experts_per_tok")),
            f"{prefix}.expert_group_count": uint32(config.size("n_group", 1)),
            f"{prefix}.expert_group_used_count": uint32(config.size("topk_group", 1)),
            f"{prefix}.expert_feed_forward_length": uint32(self.expert_size),
            f"{prefix}.expert_shared_count": uint32(self.shared_experts),
            f"{prefix}.expert_gating_func": uint32(GATING["sigmoid"]),
            f"{prefix}.expert_weights_scale": float32(scale),
            f"{prefix}.expert_weights_norm": boolean(config.flag("norm_topk_prob", True)),
        }
        if config.first(["first_k_dense_replace"]) or "first_k_dense_replace" in self.defaults:
            keys[f"{prefix}.leading_dense_block_count"] = uint32(self.dense_layers)
        if self.n_further or "num_nextn_predict_layers" in self.defaults:
            keys |= further_layer_metadata(prefix, self.n_further)
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = self.outer_rules()
        for layer in range(self.n_main):
            rules += self.layer_rules(layer)
        for layer in range(self.n_main, self.hyperparameters.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += optional_rules(self.layer_rules(layer))
            rules += further_layer_rules(target, source, self.hyperparameters.n_embd, self.vocabulary_size)
        return rules

    def layer_rules(self, layer: int) -> list[TensorRule]:
        source, target = f"model.layers.{layer}", f"blk.{layer}"
        h, biased = self.hyperparameters, self.config.flag("attention_bias", self.default_bias)
        rules = norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd)
        rules += self.attention_rules(source, target, qkv_bias=biased)
        if self.config.flag("use_qk_norm", False):
            for part in ("q", "k"):
                name = f"{source}.self_attn.{part}_norm"
                rules += norm_rules(f"{target}.attn_{part}_norm", name, self.head_dim)
        norm = f"{source}.post_attention_layernorm"
        rules += norm_rules(f"{target}.post_attention_norm", norm, h.n_embd)
        rules += self.feed_forward_rules(layer)
        if layer >= self.dense_layers:
            offsets = (f"{source}.mlp.gate.e_score_correction_bias",)
            rules.append(TensorRule(f"{target}.exp_probs_b.bias", offsets, (h.n_expert,)))
        return rules

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        return missing_token_metadata(vocabulary, self.special_tokens)


class Glm4vMoe(Glm4Moe):
    """Glm4vMoeForConditionalGeneration, GLM-4.5V: the text model."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Glm4vMoeForConditionalGeneration",)
    defaults: ClassVar[dict[str, int]] = {
        **{name: size for name, size in Glm4Moe.defaults.items() if name != "num_nextn_predict_layers"},
        "vocab_size": 151424,
        "max_position_embeddings": 65536,
    }
    aliases: ClassVar[Mapping[str, str]] = {"num_local_experts": "n_routed_experts"}
    default_bias = True
    sections: ClassVar[tuple[str, ...]] = ("text_config",)
    ignored_prefixes: ClassVar[tuple[str, ...]] = SEEING_AND_HEARING

    def metadata(self) -> Metadata:
        return super().metadata() | self.rope.section_metadata(self.gguf_name, (8, 12, 12))


class SolarOpen(Glm4Moe):
    """SolarOpenForCausalLM: experts in every layer, heads rotated as a whole."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("SolarOpenForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 196608,
        "hidden_size": 4096,
        "intermediate_size": 10240,
        "num_hidden_layers": 48,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "moe_intermediate_size": 1280,
        "num_experts_per_tok": 8,
        "n_routed_experts": 128,
        "n_shared_experts": 1,
    }
    aliases: ClassVar[Mapping[str, str]] = {"num_local_experts": "n_routed_experts"}
    default_theta = 1e6
    default_share = 1.0
    special_tokens: ClassVar[Mapping[str, str]] = {
        "eos": "<|endoftext|>",
        "eot": "<|endoftext|>",
        "unk": "<unk>",
        "bos": "<|startoftext|>",
    }

    def metadata(self) -> Metadata:
        return super().metadata() | self.head_size_metadata()
