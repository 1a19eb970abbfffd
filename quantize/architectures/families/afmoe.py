"""Arcee's AFMoE (Trinity): gated attention, norms on both sides, experts weighed by the sigmoid.

Every fourth layer sees the whole text and has no positions; the others have a window and are rotated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys
from quantize.architectures.base.moe import (
    PROJECTIONS,
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rules import TensorRule, linear_rules
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.architectures.families.deepseek import GATING
from quantize.architectures.families.qwen3 import HeadNorms
from quantize.gguf.header import Metadata, boolean, float32, uint32

PERIOD = 4
"""The distance of layers without positions, which llama.cpp reads from no key."""


class Afmoe(HeadNorms):
    """AfmoeForCausalLM."""

    gguf_name = "afmoe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("AfmoeForCausalLM",)
    reads_back = False
    defaults: ClassVar[Mapping[str, int]] = {
        "vocab_size": 200192,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "max_position_embeddings": 16384,
        "head_dim": 128,
        "moe_intermediate_size": 1408,
        "num_dense_layers": 1,
        "num_experts": 64,
        "num_experts_per_tok": 6,
        "num_shared_experts": 2,
        "sliding_window": 1024,
    }
    default_epsilon = 1e-5
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    biases: ClassVar[dict[str, tuple[str, bool]]] = {}
    refused_flags: ClassVar[Mapping[str, str]] = {"attention_bias": "has no place for these biases"}
    norms: ClassVar[Mapping[str, str]] = {
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_mlp_layernorm",
        "post_ffw_norm": "post_mlp_layernorm",
    }

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=self.size("num_experts"))
        n_layer = self.hyperparameters.n_layer
        self.dense_layers = config.count("num_dense_layers", self.defaults["num_dense_layers"])
        self.shared = config.count("num_shared_experts", self.defaults["num_shared_experts"])
        if not config.optional_flag("mup_enabled", False):
            raise CheckpointError(
                "config.json has mup_enabled false; llama.cpp's `afmoe` always scales the embeddings"
            )
        period = config.size("global_attn_every_n_layers", PERIOD)
        slides = sliding_layers(config, n_layer, period)
        if slides != tuple((layer + 1) % PERIOD != 0 for layer in range(n_layer)):
            raise CheckpointError(
                "config.json has other layers without a window than every fourth; llama.cpp's `afmoe` "
                "computes nothing else"
            )

    def metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, self.gguf_name
        scale = self.config.number("route_scale", 1.0)
        return {
            **super().metadata(),
            **expert_count_metadata(prefix, h.n_expert, self.size("num_experts_per_tok")),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
            f"{prefix}.rope.dimension_count": uint32(self.head_dim),
            f"{prefix}.attention.sliding_window": uint32(self.size("sliding_window")),
            f"{prefix}.leading_dense_block_count": uint32(self.dense_layers),
            f"{prefix}.expert_feed_forward_length": uint32(self.size("moe_intermediate_size")),
            f"{prefix}.expert_shared_count": uint32(self.shared),
            f"{prefix}.expert_gating_func": uint32(GATING["sigmoid"]),
            f"{prefix}.expert_weights_norm": boolean(True),
            f"{prefix}.expert_weights_scale": float32(scale),
        }

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        shape = (self.hyperparameters.n_head * self.head_dim, self.hyperparameters.n_embd)
        return [
            *super().layer_attention_rules(source, target),
            *linear_rules(f"{target}.attn_gate", f"{source}.self_attn.gate_proj", shape),
        ]

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        if int(target.removeprefix("blk.")) < self.dense_layers:
            return super().feed_forward_rules(source, target)
        h, mlp, n_ff = self.hyperparameters, f"{source}.mlp", self.size("moe_intermediate_size")
        matrices = gated_matrices(PROJECTIONS, h.n_embd, n_ff)
        offsets = (f"{mlp}.expert_bias",)
        rules = [
            router_rule(f"{target}.ffn_gate_inp", f"{mlp}.router.gate", (h.n_expert, h.n_embd)),
            TensorRule(f"{target}.exp_probs_b.bias", offsets, (h.n_expert,)),
            *expert_rules(target, f"{mlp}.experts", h.n_expert, matrices),
        ]
        if self.shared:
            shared = gated_matrices(PROJECTIONS, h.n_embd, n_ff * self.shared)
            rules += plain_rules(target, "_shexp", f"{mlp}.shared_experts", shared)
        return rules
