"""Step 3.5 and 3.7, text only: windows in most layers with more heads, a gate for each head, experts.

Published files state rotation, heads and limits layer by layer, in lists that go on behind the last layer.
"""

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
    gated_matrices,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rope import LAYER_TYPES, Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.sliding_window import KINDS
from quantize.architectures.base.transform import Constant, Plus
from quantize.gguf.header import Metadata, Value, ValueType, array, boolean, float32, uint32

ADD_ONE = Plus(1.0)
SIGMOID = 2
SHARES = {"full_attention": 0.5, "sliding_attention": 1.0}


class Step35(Decoder):
    """Step3p5ForCausalLM and the text part of Step3p7ForConditionalGeneration."""

    gguf_name = "step35"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Step3p5ForCausalLM", "Step3p7ForConditionalGeneration")
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 128815,
        "hidden_size": 4096,
        "intermediate_size": 11264,
        "num_hidden_layers": 45,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 128000,
        "n_routed_experts": 288,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 1280,
        "share_expert_dim": 1280,
    }
    aliases: ClassVar[dict[str, str]] = {
        "num_local_experts": "n_routed_experts",
        "num_attention_groups": "num_key_value_heads",
        "moe_num_experts": "n_routed_experts",
        "moe_top_k": "num_experts_per_tok",
        "share_expert_dims": "share_expert_dim",
    }
    own_head_dim = True
    has_rope_factors = True
    needs_output = True
    may_predict_further = True
    ignored_prefixes = ("vision_model.", "vit_large_projector.", "multi_modal_projector.")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.with_section("text_config").with_aliases(self.aliases))
        n_expert = self.size("n_routed_experts")
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=n_expert)
        self.window = self.config.size("sliding_window")
        other = self.config.section("attention_other_setting") or ModelConfig({})
        h = self.hyperparameters
        self.window_heads = self.config.optional_size("num_sliding_attention_heads") or other.size(
            "num_attention_heads", h.n_head
        )
        self.window_kv_heads = other.size("num_attention_groups", h.n_head_kv)
        if self.config.text("moe_router_activation", "sigmoid") != "sigmoid":
            raise CheckpointError(
                "config.json has another moe_router_activation than sigmoid, which weighs Step's experts"
            )

    def _kinds(self) -> tuple[str, ...]:
        """Return each layer's kind. Raises CheckpointError."""
        n_layer = self.size("num_hidden_layers")
        kinds = self.config.texts("layer_types") or ("full_attention",) * n_layer
        if len(kinds) < n_layer or not set(kinds) <= set(KINDS):
            raise CheckpointError(
                f"layer_types in config.json has {len(kinds)} entries, {', '.join(sorted(set(kinds)))}; "
                f"expected are {n_layer}, each sliding_attention or full_attention"
            )
        return kinds[:n_layer]

    def _read_rope(self) -> Rope:
        """Return the settings of layers without a window, and set `local_theta`, the base of the others."""
        config, kinds = self.config, self._kinds()
        self.sliding = tuple(KINDS[kind] for kind in kinds)
        nested = config.section("rope_parameters") or ModelConfig({})
        full, local = (nested.section(kind) for kind in LAYER_TYPES)
        for name, kind in (("full_attention", full), ("sliding_attention", local)):
            share = self._of_kind("partial_rotary_factors", kinds, name, SHARES[name])
            share = share if kind is None else kind.number("partial_rotary_factor", SHARES[name])
            if share != SHARES[name]:
                raise CheckpointError(
                    f"config.json has heads of which {share:g} is rotated in layers of {name}; llama.cpp's "
                    f"`step35` rotates {SHARES[name]:g}"
                )
        theta = self._of_kind("rope_theta", kinds, "full_attention", self.default_theta)
        local_theta = self._of_kind("rope_theta", kinds, "sliding_attention", theta)
        self.local_theta = local_theta if local is None else local.number("rope_theta", local_theta)
        scaling = full or config.section("rope_scaling") or ModelConfig({})
        return Rope.of_section(scaling, config, theta)

    def _of_kind(self, name: str, kinds: Sequence[str], kind: str, default: float) -> float:
        """Return a number for layers of a kind, from one for all or a list; that of the first one counts."""
        if not isinstance(self.config.raw(name), list):
            return self.config.optional_number(name) or default
        numbers = self.config.numbers(name) or ()
        return next((n for n, found in zip(numbers, kinds, strict=False) if found == kind), default)

    def has_experts(self, layer: int) -> bool:
        """Tell whether a layer has experts."""
        kinds, listed = self.config.texts("mlp_layer_types"), self.config.optional_text("moe_layers_enum")
        if kinds is not None:
            return layer < len(kinds) and kinds[layer] == "sparse"
        if listed is not None:
            return str(layer) in [item.strip() for item in listed.split(",")]
        return layer >= 3

    @property
    def dense_layers(self) -> int:
        """The number of layers at the start that have no experts."""
        n_layer = self.hyperparameters.n_layer
        return next((layer for layer in range(n_layer) if self.has_experts(layer)), 0)

    def metadata(self) -> Metadata:
        h, prefix, config = self.hyperparameters, self.gguf_name, self.config
        keys: Metadata = {
            **self.size_metadata(),
            **self.epsilon_metadata(),
            **self.head_size_metadata(),
            **self.rope.metadata(prefix, self.context_length),
            **expert_count_metadata(prefix, h.n_expert, self.size("num_experts_per_tok")),
            f"{prefix}.rope.freq_base_swa": float32(self.local_theta),
            f"{prefix}.attention.sliding_window": uint32(self.window),
            f"{prefix}.attention.sliding_window_pattern": array(ValueType.BOOL, self.sliding),
            f"{prefix}.attention.head_count": self._by_layer(h.n_head, self.window_heads),
            f"{prefix}.attention.head_count_kv": self._by_layer(h.n_head_kv, self.window_kv_heads),
            f"{prefix}.expert_feed_forward_length": uint32(self.size("moe_intermediate_size")),
            f"{prefix}.expert_shared_feed_forward_length": uint32(self.size("share_expert_dim")),
            f"{prefix}.expert_weights_scale": float32(config.number("moe_router_scaling_factor", 1.0)),
            f"{prefix}.expert_weights_norm": boolean(config.flag("norm_expert_weight", True)),
            f"{prefix}.expert_gating_func": uint32(SIGMOID),
            f"{prefix}.leading_dense_block_count": uint32(self.dense_layers),
            f"{prefix}.moe_every_n_layers": uint32(config.size("moe_every_n_layer", 1)),
        }
        for name, key in (
            ("swiglu_limits", "swiglu_clamp_exp"),
            ("swiglu_limits_shared", "swiglu_clamp_shexp"),
        ):
            limits = config.bounds(name, self.hyperparameters.n_layer)
            if limits is not None:
                keys[f"{prefix}.{key}"] = array(ValueType.FLOAT32, limits)
        return keys

    def _by_layer(self, full: int, sliding: int) -> Value:
        return array(ValueType.INT32, tuple(sliding if window else full for window in self.sliding))

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules(ADD_ONE) + self._factor_rules()
        for layer, sliding in enumerate(self.sliding):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            n_head = self.window_heads if sliding else h.n_head
            n_kv = (self.window_kv_heads if sliding else h.n_head_kv) * self.head_dim
            attention, n_q = f"{source}.self_attn", n_head * self.head_dim
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd, ADD_ONE)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd, ADD_ONE)
            for part, rows in (("q", n_q), ("k", n_kv), ("v", n_kv)):
                rules += linear_rules(f"{target}.attn_{part}", f"{attention}.{part}_proj", (rows, h.n_embd))
            for part in ("q", "k"):
                rules += norm_rules(
                    f"{target}.attn_{part}_norm", f"{attention}.{part}_norm", self.head_dim, ADD_ONE
                )
            rules += linear_rules(f"{target}.attn_gate", f"{attention}.g_proj", (n_head, h.n_embd))
            rules += linear_rules(f"{target}.attn_output", f"{attention}.o_proj", (h.n_embd, n_q))
            experts = self.has_experts(layer)
            rules += self.mixture_rules(source, target) if experts else self.gated_rules(source, target)
        return rules

    def mixture_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a layer's experts, which are saved in tensors of three axes."""
        h, n_ff = self.hyperparameters, self.size("moe_intermediate_size")
        routed = gated_matrices(PROJECTIONS, h.n_embd, n_ff)
        shared = gated_matrices(PROJECTIONS, h.n_embd, self.size("share_expert_dim"))
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{source}.moe.gate", (h.n_expert, h.n_embd)),
            TensorRule(f"{target}.exp_probs_b.bias", (f"{source}.moe.router_bias",), (h.n_expert,)),
            *(
                TensorRule(
                    f"{target}.ffn_{part}_exps.weight",
                    (f"{source}.moe.{name}.weight",),
                    (h.n_expert, *shape),
                )
                for part, (name, shape) in routed.items()
            ),
            *plain_rules(target, "_shexp", f"{source}.share_expert", shared),
        ]

    def _factor_rules(self) -> list[TensorRule]:
        """Return the rule of Llama 3's factors for the rotated half, with ones for the rest."""
        factors = self.rope.llama3_factors(self.head_dim // 2, self.context_length)
        if factors is None:
            return []
        padded = factors + (1.0,) * (self.head_dim // 2 - len(factors))
        return [TensorRule("rope_freqs.weight", (), (len(padded),), Constant(padded))]
