"""OLMo 1, whose layer norms have no weights, and OLMoE: experts, and norms over all queries and keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import LlamaLike
from quantize.architectures.base.moe import (
    PROJECTIONS,
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    router_rule,
)
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.gguf.header import Metadata, float32

BIASED = {"attention_bias": "has no biases"}


class Olmo(LlamaLike):
    """OlmoForCausalLM, under the names that transformers has for its tensors."""

    gguf_name = "olmo"
    huggingface_names: ClassVar[tuple[str, ...]] = ("OlmoForCausalLM", "OLMoForCausalLM")
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 50304,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    }
    norms: ClassVar[Mapping[str, str]] = {}
    weighs_norms = False
    rotates_neighbours = True
    refused_flags: ClassVar[Mapping[str, str]] = BIASED

    def epsilon_metadata(self, kind: str = "layer_norm_epsilon") -> Metadata:
        """Return the key of the norms' epsilon, which is no field of config.json."""
        return {f"{self.gguf_name}.attention.{kind}": float32(1e-5)}

    def metadata(self) -> Metadata:
        keys = super().metadata()
        bound = self.config.optional_number("clip_qkv")
        if bound is not None:
            keys[f"{self.gguf_name}.attention.clamp_kqv"] = float32(bound)
        return keys


class Olmoe(LlamaLike):
    """OlmoeForCausalLM."""

    gguf_name = "olmoe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("OlmoeForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 50304,
        "hidden_size": 2048,
        "intermediate_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 16,
        "max_position_embeddings": 4096,
        "num_experts": 64,
        "num_experts_per_tok": 8,
    }
    aliases: ClassVar[Mapping[str, str]] = {"num_local_experts": "num_experts"}
    default_epsilon = 1e-5
    needs_output = True
    refused_flags: ClassVar[Mapping[str, str]] = {
        **BIASED,
        "norm_topk_prob": "doesn't divide the experts' weights by their sum",
    }

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        h = dataclasses.replace(self.hyperparameters, n_expert=self.size("num_experts"))
        self.hyperparameters = h
        if h.n_head_kv != h.n_head:
            raise CheckpointError(
                f"config.json has {h.n_head} heads and {h.n_head_kv} key-value heads; llama.cpp's "
                f"`{self.gguf_name}` needs as many of both"
            )
        if config.optional_number("clip_qkv") is not None:
            raise CheckpointError(f"config.json has clip_qkv; llama.cpp's `{self.gguf_name}` doesn't clip")

    def metadata(self) -> Metadata:
        n_expert, n_used = self.hyperparameters.n_expert, self.size("num_experts_per_tok")
        return super().metadata() | expert_count_metadata(self.gguf_name, n_expert, n_used)

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        n, attention = self.hyperparameters.n_embd, f"{source}.self_attn"
        return [
            *super().layer_attention_rules(source, target),
            *norm_rules(f"{target}.attn_q_norm", f"{attention}.q_norm", n),
            *norm_rules(f"{target}.attn_k_norm", f"{attention}.k_norm", n),
        ]

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, moe = self.hyperparameters, f"{source}.mlp"
        matrices = gated_matrices(PROJECTIONS, h.n_embd, h.n_ff)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{moe}.gate", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{moe}.experts", h.n_expert, matrices),
        ]
