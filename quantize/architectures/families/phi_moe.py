"""Phi-3.5-MoE: Phi-3's rotary factors and vocabulary, unfused attention with biases, experts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.moe import expert_rules, gated_matrices, router_rule
from quantize.architectures.base.rope import ORIGINAL
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.families.phi3 import Phi3
from quantize.gguf.header import Metadata, uint32

EXPERT_MATRICES = {"gate": "w1", "down": "w2", "up": "w3"}


class PhiMoE(Phi3):
    """PhiMoEForCausalLM."""

    gguf_name = "phimoe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("PhiMoEForCausalLM", "PhimoeForCausalLM")
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 32064,
        "hidden_size": 4096,
        "intermediate_size": 6400,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "num_local_experts": 16,
        "num_experts_per_tok": 2,
    }
    default_theta = 1e6
    needs_output = True
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        (".mlp.", ".block_sparse_moe."),
        (".block_sparse_moe.router.", ".block_sparse_moe.gate."),
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not (config.flag("attention_bias", False) and config.flag("lm_head_bias", False)):
            raise CheckpointError(
                "config.json has attention_bias or lm_head_bias false; llama.cpp's `phimoe` needs both biases"
            )
        self.hyperparameters = dataclasses.replace(
            self.hyperparameters, n_expert=self.size("num_local_experts")
        )

    @property
    def original_context_length(self) -> int:
        inner = self.rope.parameters
        if inner.first([ORIGINAL]) is not None:
            return inner.size(ORIGINAL)
        return self.rope.original_context_length(self.context_length)

    def attention_factor(self) -> float:
        """Return config.json's factor, for short and long contexts alike; else that of Phi-3's formula."""
        factors = {self.rope.parameters.optional_number(f"{length}_mscale") for length in ("short", "long")}
        if len(factors) > 1:
            raise CheckpointError(
                "config.json has different short_mscale and long_mscale; llama.cpp has one factor for both"
            )
        return factors.pop() or super().attention_factor()

    def metadata(self) -> Metadata:
        return super().metadata() | {
            f"{self.gguf_name}.expert_count": uint32(self.hyperparameters.n_expert),
            f"{self.gguf_name}.expert_used_count": uint32(self.size("num_experts_per_tok")),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules(norm_bias=True)
        rules.append(TensorRule("output.bias", ("lm_head.bias",), (self.vocabulary_size,)))
        rules += self.factor_rules()
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd, bias=True)
            rules += self.attention_rules(source, target, qkv_bias=True, output_bias=True)
            rules += norm_rules(
                f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd, bias=True
            )
            rules += self._expert_rules(f"{source}.block_sparse_moe", target)
        return rules

    def _expert_rules(self, source: str, target: str) -> list[TensorRule]:
        h = self.hyperparameters
        matrices = gated_matrices(EXPERT_MATRICES, h.n_embd, h.n_ff)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{source}.gate", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{source}.experts", h.n_expert, matrices),
        ]
