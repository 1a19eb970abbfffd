"""DeepSeek's mixtures of experts: the first one (DeepSeek-MoE), and what those after it share with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.moe import (
    PROJECTIONS,
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    leading_dense_layers,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import RotaryHeads
from quantize.gguf.header import Metadata, float32, string, uint32

GATING = {"softmax": 1, "sigmoid": 2}


class DeepseekExperts(Decoder):
    """Some dense layers first, then in each layer many experts and a few that are always used."""

    default_gating: ClassVar[str | None] = None
    """The function that weighs experts where config.json is silent; None leaves it to llama.cpp."""

    reads_layer_types: ClassVar[bool] = False
    """True if `mlp_layer_types` of config.json says which layers are dense, where it is there."""

    expert_names: ClassVar[Mapping[str, str]] = PROJECTIONS
    """The names of an expert's matrices."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_expert = config.optional_size("n_routed_experts", self.defaults.get("n_routed_experts")) or 0
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=n_expert)
        if config.size("moe_layer_freq", 1) != 1:
            raise CheckpointError(
                "config.json has a moe_layer_freq other than 1; llama.cpp's "
                f"`{self.gguf_name}` has experts in every layer after the dense ones"
            )

    @property
    def dense_layers(self) -> int:
        """The number of layers at the start that have no experts."""
        n_layer, n_expert = self.hyperparameters.n_layer, self.hyperparameters.n_expert
        if not n_expert:
            return n_layer
        listed = leading_dense_layers(self.config) if self.reads_layer_types else None
        if listed is not None:
            return listed
        return self.config.count("first_k_dense_replace", self.defaults.get("first_k_dense_replace", 0))

    @property
    def expert_size(self) -> int:
        return self.size("moe_intermediate_size")

    @property
    def shared_experts(self) -> int:
        if self.config.raw("n_shared_experts") is None and self.config.first(["n_shared_experts"]):
            return 0
        return self.config.count("n_shared_experts", self.defaults.get("n_shared_experts", 0))

    @property
    def shared_size(self) -> int:
        """The rows of all experts that are always used, which are one feed-forward."""
        return self.expert_size * self.shared_experts

    def expert_metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, self.gguf_name
        keys: Metadata = {
            f"{prefix}.leading_dense_block_count": uint32(self.dense_layers),
            f"{prefix}.expert_feed_forward_length": uint32(self.expert_size),
            f"{prefix}.expert_shared_count": uint32(self.shared_experts),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
        }
        if h.n_expert:
            keys |= expert_count_metadata(prefix, h.n_expert, self.size("num_experts_per_tok"))
        gating = self.config.optional_text("scoring_func", self.default_gating)
        if gating is not None:
            if gating not in GATING:
                raise CheckpointError(
                    f"config.json has scoring_func {gating!r}; llama.cpp knows {', '.join(GATING)}"
                )
            keys[f"{prefix}.expert_gating_func"] = uint32(GATING[gating])
        return keys

    def feed_forward_rules(self, layer: int) -> list[TensorRule]:
        source, target = f"model.layers.{layer}", f"blk.{layer}"
        if layer < self.dense_layers:
            return self.gated_rules(source, target)
        n_expert, n_embd, mlp = self.hyperparameters.n_expert, self.hyperparameters.n_embd, f"{source}.mlp"
        routed = gated_matrices(self.expert_names, n_embd, self.expert_size)
        rules = [router_rule(f"{target}.ffn_gate_inp", f"{mlp}.gate", (n_expert, n_embd))]
        rules += expert_rules(target, f"{mlp}.experts", n_expert, routed)
        if self.shared_experts:
            shared = gated_matrices(PROJECTIONS, n_embd, self.shared_size)
            rules += plain_rules(target, "_shexp", f"{mlp}.shared_experts", shared)
        return rules


class Deepseek(DeepseekExperts):
    """DeepseekForCausalLM: attention as in Llama."""

    gguf_name = "deepseek"
    huggingface_names: ClassVar[tuple[str, ...]] = ("DeepseekForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 102400,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 30,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "moe_intermediate_size": 1407,
    }
    default_epsilon = 1e-6

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not self.hyperparameters.n_expert or config.flag("norm_topk_prob", False):
            raise CheckpointError(
                "config.json has no n_routed_experts, or norm_topk_prob true; llama.cpp's `deepseek` has "
                "experts, whose weights it takes as they are"
            )
        if self.rope.kind != "default":
            raise CheckpointError(
                f"config.json has the rope scaling {self.rope.kind!r}; llama.cpp's `deepseek` computes none"
            )

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        own_size = self.head_size_metadata() if self.config.has("head_dim") else {}
        return {
            **self.size_metadata(),
            **self.epsilon_metadata(),
            **own_size,
            **self.rope.metadata(prefix, self.context_length),
            f"{prefix}.rope.dimension_count": uint32(self.head_dim),
            f"{prefix}.rope.scaling.type": string("none"),
            f"{prefix}.expert_weights_scale": float32(1.0),
            **self.expert_metadata(),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        n_q, n_kv = h.n_head * self.head_dim, h.n_head_kv * self.head_dim
        biased = self.config.flag("attention_bias", False)
        rotary = RotaryHeads(self.head_dim)
        rules = self.outer_rules()
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            attention = f"{source}.self_attn"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd)
            rules += linear_rules(
                f"{target}.attn_q", f"{attention}.q_proj", (n_q, h.n_embd), rotary, bias=biased
            )
            rules += linear_rules(
                f"{target}.attn_k", f"{attention}.k_proj", (n_kv, h.n_embd), rotary, bias=biased
            )
            rules += linear_rules(f"{target}.attn_v", f"{attention}.v_proj", (n_kv, h.n_embd), bias=biased)
            rules += linear_rules(f"{target}.attn_output", f"{attention}.o_proj", (h.n_embd, n_q))
            rules += self.feed_forward_rules(layer)
        return rules
