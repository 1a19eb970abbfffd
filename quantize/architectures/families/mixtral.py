"""Mixtral: Llama with a mixture of experts in each layer; `llama` in llama.cpp, too."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys
from quantize.architectures.base.moe import expert_count_metadata, expert_rules, gated_matrices, router_rule
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.families.llama import Llama
from quantize.gguf.header import Metadata


class Mixtral(Llama):
    """MixtralForCausalLM."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("MixtralForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }
    default_theta = 1e6
    default_epsilon = 1e-5
    head_dim_keys: ClassVar[HeadDimKeys] = "configured"
    aliases: ClassVar[dict[str, str]] = {"num_experts": "num_local_experts"}
    renames: ClassVar[tuple[tuple[str, str], ...]] = ((".mlp.", ".block_sparse_moe."),)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_expert = self.size("num_local_experts")
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=n_expert)

    def metadata(self) -> Metadata:
        n_expert, n_used = self.hyperparameters.n_expert, self.size("num_experts_per_tok")
        return super().metadata() | expert_count_metadata(self.gguf_name, n_expert, n_used)

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, moe = self.hyperparameters, f"{source}.block_sparse_moe"
        matrices = gated_matrices({"gate": "w1", "up": "w3", "down": "w2"}, h.n_embd, h.n_ff)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{moe}.gate", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{moe}.experts", h.n_expert, matrices),
        ]
