"""Laguna: windows in some layers with other rotation and more heads, gates behind attention, experts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
from quantize.architectures.base.rope import DEFAULT_THETA, Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.gguf.header import Metadata, ValueType, array, boolean, float32, uint32

SIGMOID = 2
PERIOD = 4
GATES = {"per-head": False, "per_head": False, "per-element": True, "per_element": True}
ROTATION = (500000.0, 0.5)
"""The base and the rotated share of a head in layers without a window, where config.json has no settings."""


class Laguna(Decoder):
    """LagunaForCausalLM."""

    gguf_name = "laguna"
    huggingface_names: ClassVar[tuple[str, ...]] = ("LagunaForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 100352,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 40,
        "num_attention_heads": 48,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "sliding_window": 512,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
        "num_experts_per_tok": 8,
        "num_experts": 256,
    }
    default_epsilon = 1e-6
    own_head_dim = True
    null_kv_heads = False
    never_null: ClassVar[tuple[str, ...]] = ("gating",)
    aliases: ClassVar[dict[str, str]] = {"rope_scaling": "rope_parameters"}
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        ("mlp.gate.e_score_correction_bias", "mlp.experts.e_score_correction_bias"),
        ("mlp.shared_experts.", "mlp.shared_expert."),
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        h = self.hyperparameters
        self.hyperparameters = dataclasses.replace(h, n_expert=self.size("num_experts"))
        listed = config.numbers("num_attention_heads_per_layer")
        self.heads = tuple(map(int, listed or (h.n_head,) * h.n_layer))
        dense = leading_dense_layers(config)
        self.dense_layers = 1 if dense is None else dense
        if config.number("moe_router_logit_softcapping", 0.0) or config.flag("attention_bias", False):
            raise CheckpointError(
                "config.json has moe_router_logit_softcapping or attention_bias; llama.cpp's `laguna` has "
                "neither"
            )
        if len(self.heads) != h.n_layer or any(n < 1 or n % h.n_head_kv for n in self.heads):
            raise CheckpointError(
                f"config.json has {len(self.heads)} num_attention_heads_per_layer for {h.n_layer} layers, or "
                f"some that are no multiple of the {h.n_head_kv} key-value heads"
            )
        kinds = config.texts("layer_types")
        self.sliding = (False,) * h.n_layer if kinds is None else sliding_layers(config, h.n_layer, PERIOD)

    def _read_rope(self) -> Rope:
        """Return the settings of layers without a window, and set those of the others."""
        assumed = (DEFAULT_THETA, 1.0) if self.config.has("rope_parameters") else ROTATION
        rope, local_rope = Rope.of_sections(self.config, assumed[0], DEFAULT_THETA)
        self.share = rope.parameters.number("partial_rotary_factor", assumed[1])
        self.local_share = local_rope.parameters.number("partial_rotary_factor", 1.0)
        if local_rope.kind != "default":
            raise CheckpointError(
                f"config.json has the rope_type {local_rope.kind!r} for sliding_attention; llama.cpp's "
                "`laguna` doesn't scale the rotation there"
            )
        self.local_theta = local_rope.theta
        return rope

    def _gates_elements(self, layer: int) -> bool:
        """Tell whether each number of a layer's attention has a gate of its own, and not each head."""
        gating, listed = self.config.raw("gating"), self.config.texts("gating_types")
        kind = listed[layer] if listed and layer < len(listed) else gating
        if kind is None or kind is True:
            return False
        if not isinstance(kind, str) or kind not in GATES:
            raise CheckpointError(f"config.json has gating {kind!r}; known are {', '.join(GATES)}")
        return GATES[kind]

    def metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, self.gguf_name
        scale = self.config.number("moe_routed_scaling_factor", 1.0)
        keys: Metadata = {
            **self.size_metadata(),
            **self.epsilon_metadata(),
            **self.head_size_metadata(),
            **self.rope.metadata(prefix, self.context_length),
            **expert_count_metadata(prefix, h.n_expert, self.size("num_experts_per_tok")),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
            f"{prefix}.attention.head_count": array(ValueType.INT32, self.heads),
            f"{prefix}.rope.dimension_count": uint32(int(self.head_dim * self.share)),
            f"{prefix}.leading_dense_block_count": uint32(self.dense_layers),
            f"{prefix}.expert_feed_forward_length": uint32(self.size("moe_intermediate_size")),
            f"{prefix}.expert_shared_feed_forward_length": uint32(
                self.size("shared_expert_intermediate_size")
            ),
            f"{prefix}.expert_weights_norm": boolean(True),
            f"{prefix}.expert_weights_scale": float32(scale),
            f"{prefix}.expert_gating_func": uint32(SIGMOID),
        }
        if any(self.sliding):
            keys[f"{prefix}.attention.sliding_window"] = uint32(self.size("sliding_window"))
            keys[f"{prefix}.rope.freq_base_swa"] = float32(self.local_theta)
            keys[f"{prefix}.rope.dimension_count_swa"] = uint32(int(self.head_dim * self.local_share))
            if self.sliding != tuple(layer % PERIOD != 0 for layer in range(h.n_layer)):
                keys[f"{prefix}.attention.sliding_window_pattern"] = array(ValueType.BOOL, self.sliding)
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules()
        for layer, n_head in enumerate(self.heads):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            attention, n_q, n_kv = f"{source}.self_attn", n_head * self.head_dim, h.n_head_kv * self.head_dim
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd)
            for part, rows in (("q", n_q), ("k", n_kv), ("v", n_kv)):
                rules += linear_rules(f"{target}.attn_{part}", f"{attention}.{part}_proj", (rows, h.n_embd))
            for part in ("q", "k"):
                rules += norm_rules(f"{target}.attn_{part}_norm", f"{attention}.{part}_norm", self.head_dim)
            n_gates = n_q if self._gates_elements(layer) else n_head
            rules += linear_rules(f"{target}.attn_gate", f"{attention}.g_proj", (n_gates, h.n_embd))
            rules += linear_rules(f"{target}.attn_output", f"{attention}.o_proj", (h.n_embd, n_q))
            dense = layer < self.dense_layers
            rules += (
                self.gated_rules(source, target) if dense else self.mixture_rules(f"{source}.mlp", target)
            )
        return rules

    def mixture_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a layer's experts."""
        h = self.hyperparameters
        routed = gated_matrices(PROJECTIONS, h.n_embd, self.size("moe_intermediate_size"))
        shared = gated_matrices(PROJECTIONS, h.n_embd, self.size("shared_expert_intermediate_size"))
        offsets = (f"{source}.experts.e_score_correction_bias",)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{source}.gate", (h.n_expert, h.n_embd)),
            TensorRule(f"{target}.exp_probs_b.bias", offsets, (h.n_expert,)),
            *expert_rules(target, f"{source}.experts", h.n_expert, routed),
            *plain_rules(target, "_shexp", f"{source}.shared_expert", shared),
        ]
