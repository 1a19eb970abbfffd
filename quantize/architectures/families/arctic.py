"""Snowflake Arctic: beside each layer's dense feed-forward a mixture of experts, on the layer's input."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import LlamaLike
from quantize.architectures.base.moe import (
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rules import TensorRule
from quantize.gguf.header import Metadata, uint32
from quantize.vocabulary.added_tokens import AS_MARKED

MATRICES = {"gate": "w1", "up": "w3", "down": "w2"}


class Arctic(LlamaLike):
    """ArcticForCausalLM. Defaults are those of its makers' class."""

    gguf_name = "arctic"
    huggingface_names: ClassVar[tuple[str, ...]] = ("ArcticForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
        "num_local_experts": 8,
        "num_experts_per_tok": 1,
    }
    default_theta = 1e6
    default_epsilon = 1e-5
    rotates_neighbours = True
    norms: ClassVar[dict[str, str]] = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "residual_layernorm",
        "ffn_norm_exps": "post_attention_layernorm",
    }

    added_token_rules = AS_MARKED

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        frequency, is_parallel = (
            config.size("moe_layer_frequency", 2),
            config.flag("parallel_attn_mlp_res", False),
        )
        if frequency != 1 or not is_parallel:
            raise CheckpointError(
                f"config.json has moe_layer_frequency {frequency} and parallel_attn_mlp_res {is_parallel};"
                " llama.cpp's `arctic` has experts in every layer, beside a dense feed-forward (1, true)"
            )
        n_expert = self.size("num_local_experts")
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=n_expert)

    def metadata(self) -> Metadata:
        n_expert, n_used = self.hyperparameters.n_expert, self.size("num_experts_per_tok")
        return (
            super().metadata()
            | expert_count_metadata(self.gguf_name, n_expert, n_used)
            | {
                f"{self.gguf_name}.vocab_size": uint32(self.vocabulary_size),
                f"{self.gguf_name}.rope.dimension_count": uint32(self.head_dim),
            }
        )

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, moe = self.hyperparameters, f"{source}.block_sparse_moe"
        dense = gated_matrices(MATRICES, h.n_embd, h.n_embd)
        return [
            *plain_rules(target, "", f"{source}.residual_mlp", dense),
            router_rule(f"{target}.ffn_gate_inp", f"{moe}.gate", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{moe}.experts", h.n_expert, gated_matrices(MATRICES, h.n_embd, h.n_ff)),
        ]
