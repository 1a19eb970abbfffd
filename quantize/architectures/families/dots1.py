"""dots.llm1: Qwen 3's attention without grouped queries, DeepSeek's experts."""

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
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.families.deepseek import GATING
from quantize.architectures.families.qwen3 import HeadNorms
from quantize.gguf.header import Metadata, boolean, float32, uint32


class Dots1(HeadNorms):
    """Dots1ForCausalLM: dense layers first, then experts, some of which are always used."""

    gguf_name = "dots1"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Dots1ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 152064,
        "hidden_size": 4608,
        "intermediate_size": 10944,
        "num_hidden_layers": 62,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 2048,
        "moe_intermediate_size": 1408,
    }
    aliases: ClassVar[Mapping[str, str]] = {"num_local_experts": "n_routed_experts"}
    head_dim_keys: ClassVar[HeadDimKeys] = "configured"
    needs_output = True
    biases: ClassVar[dict[str, tuple[str, bool]]] = {}
    refused_flags: ClassVar[dict[str, str]] = {"attention_bias": "has no bias of the output matrix"}

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        h = self.hyperparameters
        if h.n_head_kv != h.n_head:
            raise CheckpointError(
                f"config.json has {h.n_head} heads and {h.n_head_kv} key-value heads; llama.cpp's `dots1` "
                "has as many of each"
            )
        kinds = config.texts("layer_types") or ()
        first = config.optional_size("max_window_layers", 62) or h.n_layer
        unsaid = not kinds and config.optional_size("sliding_window", 4096) is not None
        if "sliding_attention" in kinds or (unsaid and first < h.n_layer):
            raise CheckpointError(
                "config.json has layers with a sliding_window; llama.cpp's `dots1` attends to everything"
            )
        self.dense_layers = config.count("first_k_dense_replace", 0)
        self.hyperparameters = dataclasses.replace(h, n_expert=self.size("n_routed_experts"))

    def metadata(self) -> Metadata:
        config, prefix, n_used = self.config, self.gguf_name, self.size("num_experts_per_tok")
        return super().metadata() | {
            **expert_count_metadata(prefix, self.hyperparameters.n_expert, n_used),
            f"{prefix}.expert_group_count": uint32(config.size("n_group", 1)),
            f"{prefix}.expert_group_used_count": uint32(config.size("topk_group", 1)),
            f"{prefix}.expert_feed_forward_length": uint32(self.size("moe_intermediate_size")),
            f"{prefix}.leading_dense_block_count": uint32(self.dense_layers),
            f"{prefix}.expert_shared_count": uint32(self.size("n_shared_experts")),
            f"{prefix}.expert_weights_scale": float32(config.number("routed_scaling_factor", 1.0)),
            f"{prefix}.expert_weights_norm": boolean(config.optional_flag("norm_topk_prob", False)),
            f"{prefix}.expert_gating_func": uint32(GATING["sigmoid"]),
        }

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        if int(target.removeprefix("blk.")) < self.dense_layers:
            return super().feed_forward_rules(source, target)
        h, mlp, n_ff = self.hyperparameters, f"{source}.mlp", self.size("moe_intermediate_size")
        experts = gated_matrices(PROJECTIONS, h.n_embd, n_ff)
        shared = gated_matrices(PROJECTIONS, h.n_embd, n_ff * self.size("n_shared_experts"))
        offsets = (f"{mlp}.gate.e_score_correction_bias",)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{mlp}.gate", (h.n_expert, h.n_embd)),
            TensorRule(f"{target}.exp_probs_b.bias", offsets, (h.n_expert,), optional=True),
            *expert_rules(target, f"{mlp}.experts", h.n_expert, experts),
            *plain_rules(target, "_shexp", f"{mlp}.shared_experts", shared),
        ]
