"""Tencent's Hunyuan: dense, the text model of the one that sees, mixtures of experts, and Hy3.

Their rotation is stretched by `alpha`, at any length: another base, which the files have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import SEEING_AND_HEARING
from quantize.architectures.base.further_layers import (
    further_layer_metadata,
    further_layer_rules,
    optional_rules,
)
from quantize.architectures.base.llama_like import HeadDimKeys, LlamaLike
from quantize.architectures.base.moe import (
    PROJECTIONS,
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rope import Rope
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.families.deepseek import GATING
from quantize.architectures.families.qwen3 import HeadNorms
from quantize.gguf.header import Metadata, boolean, float32, string, uint32

STRETCHED_CONTEXT = 256 * 1024
"""The tokens that a model with `alpha` is for; config.json has fewer."""


class Hunyuan(LlamaLike):
    """HunYuanDenseV1ForCausalLM: queries and keys are normalized after the rotation."""

    gguf_name = "hunyuan-dense"
    huggingface_names: ClassVar[tuple[str, ...]] = ("HunYuanDenseV1ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 290943,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    }
    default_epsilon = 1e-5
    own_head_dim = True
    head_dim_keys: ClassVar[HeadDimKeys] = "configured"
    refused_flags: ClassVar[dict[str, str]] = {"attention_bias": "has no bias of the output matrix"}

    @property
    def alpha(self) -> float | None:
        """The number that stretches the rotation; None for a model without it."""
        if self.rope.kind != "dynamic":
            return None
        return self.rope.parameters.optional_number("alpha") or None

    def metadata(self) -> Metadata:
        prefix, keys = self.gguf_name, super().metadata()
        if self.alpha is not None:
            base = self.rope.theta * self.alpha ** (self.head_dim / (self.head_dim - 2))
            keys[f"{prefix}.rope.freq_base"] = float32(base)
            keys[f"{prefix}.context_length"] = uint32(STRETCHED_CONTEXT)
            keys |= unscaled_metadata(prefix, STRETCHED_CONTEXT)
        return keys

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        return [
            *super().layer_attention_rules(source, target),
            *norm_rules(f"{target}.attn_q_norm", f"{source}.self_attn.query_layernorm", self.head_dim),
            *norm_rules(f"{target}.attn_k_norm", f"{source}.self_attn.key_layernorm", self.head_dim),
        ]


class HunyuanVL(Hunyuan):
    """HunYuanVLForConditionalGeneration. llama.cpp stretches the rotation itself, by the file's alpha.

    Four sections of M-RoPE are left out: llama.cpp doesn't turn the fourth of a text's tokens at all, and
    without sections turns all of them as the model does.
    """

    gguf_name = "hunyuan_vl"
    huggingface_names: ClassVar[tuple[str, ...]] = ("HunYuanVLForConditionalGeneration",)
    aliases: ClassVar[Mapping[str, str]] = {"attention_head_dim": "head_dim", "org_vocab_size": "vocab_size"}
    default_tied = True
    sections: ClassVar[tuple[str, ...]] = ("text_config",)
    ignored_prefixes: ClassVar[tuple[str, ...]] = (*SEEING_AND_HEARING, "vit.")

    def _read_rope(self) -> Rope:
        """Return the settings, of which `xdrope` is the older name of a dynamic kind."""
        rope = super()._read_rope()
        return dataclasses.replace(rope, kind="dynamic") if rope.kind == "xdrope" else rope

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        keys = LlamaLike.metadata(self)
        if self.alpha is not None:
            keys |= unscaled_metadata(prefix, self.context_length)
            keys[f"{prefix}.rope.scaling.factor"] = float32(self.rope.parameters.number("factor", 1.0))
            keys[f"{prefix}.rope.scaling.alpha"] = float32(self.alpha)
        return keys


class HunyuanMoe(Hunyuan):
    """HunYuanMoEV1ForCausalLM: experts and one that is always used, all of one size."""

    gguf_name = "hunyuan-moe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("HunYuanMoEV1ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {**Hunyuan.defaults, "num_experts": 1}
    aliases: ClassVar[Mapping[str, str]] = {
        "num_experts_per_tok": "moe_topk",
        "num_local_experts": "num_experts",
    }

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_ff = self.hyperparameters.n_ff
        if self.shared_number("moe_intermediate_size", n_ff) != n_ff:
            raise CheckpointError(
                "config.json has another moe_intermediate_size than intermediate_size; llama.cpp's "
                "`hunyuan-moe` has experts of one size"
            )
        if self.shared_number("num_shared_expert", 1) != 1:
            raise CheckpointError(
                "config.json has another num_shared_expert than 1; llama.cpp's `hunyuan-moe` has one"
            )
        self.n_used = self.shared_number("moe_topk", 1)
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=self.size("num_experts"))

    def shared_number(self, name: str, default: int) -> int:
        """Return a number that config.json has once, or for each layer. Raises CheckpointError: several."""
        value: Any = self.config.raw(name)
        each = value if isinstance(value, list) else [value if self.config.first([name]) else default]
        if len(set(map(repr, each))) != 1 or type(each[0]) is not int or each[0] < 1:
            raise CheckpointError(
                f"config.json has {name} {value!r}; llama.cpp has one number for all layers"
            )
        return each[0]

    def metadata(self) -> Metadata:
        prefix, n_ff = self.gguf_name, uint32(self.hyperparameters.n_ff)
        return super().metadata() | {
            **expert_count_metadata(prefix, self.hyperparameters.n_expert, self.n_used),
            f"{prefix}.expert_shared_feed_forward_length": n_ff,
            f"{prefix}.expert_feed_forward_length": n_ff,
            f"{prefix}.expert_shared_count": uint32(1),
        }

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, mlp = self.hyperparameters, f"{source}.mlp"
        matrices = gated_matrices(PROJECTIONS, h.n_embd, h.n_ff)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{mlp}.gate.wg", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{mlp}.experts", h.n_expert, matrices),
            *plain_rules(target, "_shexp", f"{mlp}.shared_mlp", matrices),
        ]


class Hy3(HeadNorms):
    """HYV3ForCausalLM: some dense layers, experts in the others, and layers that predict further tokens."""

    gguf_name = "hy_v3"
    huggingface_names: ClassVar[tuple[str, ...]] = ("HYV3ForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 120832,
        "hidden_size": 4096,
        "intermediate_size": 13312,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "moe_intermediate_size": 1536,
        "num_experts": 192,
        "num_experts_per_tok": 8,
    }
    aliases: ClassVar[Mapping[str, str]] = {"num_local_experts": "num_experts"}
    default_theta = 11158840.0
    default_epsilon = 1e-5
    null_kv_heads = False
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    biases: ClassVar[dict[str, tuple[str, bool]]] = {}
    refused_flags: ClassVar[dict[str, str]] = {
        "attention_bias": "has no bias of the output matrix",
        "mlp_bias": "has no biases of the feed-forward",
    }
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        (".mlp.gate.weight", ".mlp.router.gate.weight"),
        (".mlp.e_score_correction_bias", ".mlp.expert_bias"),
        (".mlp.shared_experts.", ".mlp.shared_mlp."),
        (".final_layernorm.", ".shared_head.norm."),
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.n_main = self.hyperparameters.n_layer
        kinds = config.texts("mlp_layer_types") or ("dense", *["sparse"] * (self.n_main - 1))
        if len(kinds) != self.n_main or not set(kinds) <= {"dense", "sparse"}:
            raise CheckpointError(
                f"mlp_layer_types in config.json has {len(kinds)} entries; expected are {self.n_main}, each "
                "dense or sparse"
            )
        self.has_experts = tuple(kind == "sparse" for kind in kinds)
        self.n_further = config.count("num_nextn_predict_layers", 0)
        self.n_shared = self.size("moe_intermediate_size") * config.size("num_shared_experts", 1)
        self.hyperparameters = dataclasses.replace(
            self.hyperparameters, n_layer=self.n_main + self.n_further, n_expert=self.size("num_experts")
        )

    def metadata(self) -> Metadata:
        prefix, n_used = self.gguf_name, self.size("num_experts_per_tok")
        keys = super().metadata() | {
            **expert_count_metadata(prefix, self.hyperparameters.n_expert, n_used),
            f"{prefix}.expert_feed_forward_length": uint32(self.size("moe_intermediate_size")),
            f"{prefix}.expert_shared_feed_forward_length": uint32(self.n_shared),
            f"{prefix}.expert_weights_norm": boolean(self.config.flag("route_norm", True)),
            f"{prefix}.expert_weights_scale": float32(self.config.number("router_scaling_factor", 2.826)),
            f"{prefix}.expert_gating_func": uint32(GATING["sigmoid"]),
        }
        return keys | further_layer_metadata(prefix, self.n_further) if self.n_further else keys

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        layer = int(target.removeprefix("blk."))
        if layer < self.n_main and not self.has_experts[layer]:
            return super().feed_forward_rules(source, target)
        h, mlp = self.hyperparameters, f"{source}.mlp"
        experts = gated_matrices(PROJECTIONS, h.n_embd, self.size("moe_intermediate_size"))
        shared = gated_matrices(PROJECTIONS, h.n_embd, self.n_shared)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{mlp}.router.gate", (h.n_expert, h.n_embd)),
            TensorRule(f"{target}.exp_probs_b", (f"{mlp}.expert_bias",), (h.n_expert,)),
            *expert_rules(target, f"{mlp}.experts", h.n_expert, experts),
            *plain_rules(target, "_shexp", f"{mlp}.shared_mlp", shared),
        ]

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, rules = self.hyperparameters, []
        further = tuple(f"blk.{layer}." for layer in range(self.n_main, h.n_layer))
        for rule in super().tensor_rules():
            rules += optional_rules([rule]) if rule.name.startswith(further) else [rule]
        for layer in range(self.n_main, h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += further_layer_rules(target, source, h.n_embd, self.vocabulary_size)
        return rules


def unscaled_metadata(prefix: str, context_length: int) -> Metadata:
    """Return the keys of a rotation that llama.cpp is not to scale."""
    return {
        f"{prefix}.rope.scaling.type": string("none"),
        f"{prefix}.rope.scaling.factor": float32(1.0),
        f"{prefix}.rope.scaling.original_context_length": uint32(context_length),
    }
