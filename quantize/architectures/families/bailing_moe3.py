"""Ling 3: delta attention with a bounded decay, gated latent attention, groups of experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, linear_rules
from quantize.architectures.base.transform import Axes, Exp
from quantize.architectures.families.kimi_linear import DeltaLatent
from quantize.gguf.header import Metadata, ValueType, array, boolean, float32, uint32

_CLAMPS = {
    "expert_swiglu_limit_list": "swiglu_clamp_exp",
    "share_expert_swiglu_limit_list": "swiglu_clamp_shexp",
}


class BailingMoe3(DeltaLatent):
    """BailingMoeV3ForCausalLM, and the text part of BailingMoeV3VLForConditionalGeneration."""

    gguf_name = "bailingmoe3"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "BailingMoeV3ForCausalLM",
        "BailingMoeV3VLForConditionalGeneration",
    )
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 157184,
        "hidden_size": 2560,
        "intermediate_size": 6144,
        "num_hidden_layers": 42,
        "num_attention_heads": 32,
        "max_position_embeddings": 262144,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "kv_lora_rank": 512,
        "n_routed_experts": 512,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "first_k_dense_replace": 2,
        "head_dim": 128,
        "short_conv_kernel_size": 4,
        "layer_group_size": 6,
    }
    default_routing: ClassVar[Mapping[str, Any]] = {
        "n_group": 8,
        "topk_group": 4,
        "routed_scaling_factor": 2.5,
        "norm_topk_prob": True,
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "num_local_experts": "n_routed_experts",
        "num_experts": "n_routed_experts",
        "num_shared_experts": "n_shared_experts",
        "num_experts_per_token": "num_experts_per_tok",
        "num_expert_group": "n_group",
        "moe_renormalize": "norm_topk_prob",
        "score_function": "scoring_func",
        "model_max_length": "max_position_embeddings",
    }
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        (".word_embeddings.", ".embed_tokens."),
        (".attention.dense.", ".self_attn.o_proj."),
        (".attention.", ".self_attn."),
        (".forget_gate.", "."),
        (".gate.expert_bias", ".gate.e_score_correction_bias"),
    )
    default_theta = 6e6
    sections: ClassVar[tuple[str, ...]] = ("text_config",)
    kept_fields: ClassVar[tuple[str, ...]] = ("mrope_section",)
    ignored_prefixes: ClassVar[tuple[str, ...]] = ("vision.", "visual.", "linear_proj.")
    head_dim_names = ("linear_head_dim", "head_dim")
    kernel_names = ("linear_conv_kernel_dim", "short_conv_kernel_size")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not (config.flag("no_kda_lora", True) and config.flag("kda_safe_gate", True)):
            raise CheckpointError(
                "config.json has no_kda_lora or kda_safe_gate false; llama.cpp's `bailingmoe3` has whole "
                "matrices for the gates, and a bound of the decay"
            )
        if config.text("gated_attention_proj_granularity_type", "head_wise") != "head_wise":
            raise CheckpointError(
                "config.json has a gated_attention_proj_granularity_type other than head_wise, which is all "
                "that llama.cpp's `bailingmoe3` computes"
            )

    def is_recurrent_by_default(self, layer: int) -> bool:
        return (layer + 1) % self.size("layer_group_size") != 0

    @property
    def chooses_groups(self) -> bool:
        """Always true: it is this generation's only way."""
        return True

    @property
    def shared_size(self) -> int:
        return self.config.size("moe_shared_expert_intermediate_size", super().shared_size)

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        keys = super().metadata() | {
            f"{prefix}.kda.safe_gate": boolean(True),
            f"{prefix}.kda.gate_lower_bound": float32(self.config.number("kda_lower_bound", -5.0)),
            f"{prefix}.expert_shared_feed_forward_length": uint32(self.shared_size),
        }
        sections = self.config.numbers("mrope_section")
        if sections is not None:
            parts = [*map(int, sections), 0, 0, 0, 0][:4]
            keys[f"{prefix}.rope.dimension_sections"] = array(ValueType.INT32, parts)
        return keys | self._clamps()

    def _clamps(self) -> Metadata:
        """Return the keys of the bounds of what experts gate, layer by layer, where there are any."""
        n_layer, keys = self.hyperparameters.n_layer, Metadata()
        for name, key in _CLAMPS.items():
            bounds = self.config.bounds(name, n_layer)
            if bounds is not None:
                keys[f"{self.gguf_name}.{key}"] = array(ValueType.FLOAT32, list(bounds))
        return keys

    def _latent_rules(self, source: str, target: str) -> list[TensorRule]:
        gate = (self.hyperparameters.n_head, self.hyperparameters.n_embd)
        rules = super()._latent_rules(source, target)
        return [*rules, *linear_rules(f"{target}.attn_gate", f"{source}.g_proj", gate)]

    def gate_rules(self, source: str, target: str) -> list[TensorRule]:
        n_head, n_embd = self.hyperparameters.n_head, self.hyperparameters.n_embd
        shape, decays = (n_head * self.state, n_embd), Exp(1.0, Axes((n_head,)))
        return [
            *linear_rules(f"{target}.ssm_f_a", f"{source}.f_proj", shape),
            TensorRule(f"{target}.ssm_a", (f"{source}.A_log",), (n_head, 1), decays, f32=True),
            *linear_rules(f"{target}.ssm_g_a", f"{source}.g_proj", shape),
        ]
