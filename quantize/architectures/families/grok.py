"""Grok 1 and 2: experts with GELU, four norms in a layer, capped attention and router, scaled outputs."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys, LlamaLike
from quantize.architectures.base.moe import (
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    router_rule,
)
from quantize.architectures.base.rope import ORIGINAL
from quantize.architectures.base.rules import TensorRule
from quantize.gguf.header import Metadata, float32, string, uint32

EXPERT = {"gate": "w1", "up": "w3", "down": "w2"}
EMBEDDING_SCALE = 78.38367176906169
OUTPUT_SCALE = 0.5773502691896257
YARN_NAMES = ("yarn", "original")
YARN = {
    "yarn_ext_factor": ("extrapolation_factor", 1.0),
    "yarn_attn_factor": ("attn_factor", 1.0),
    "yarn_beta_fast": ("beta_fast", 32.0),
    "yarn_beta_slow": ("beta_slow", 1.0),
}


class Grok(LlamaLike):
    """GrokForCausalLM: Grok 1. Defaults are those of its class on the Hub."""

    gguf_name = "grok"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GrokForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 131072,
        "hidden_size": 6144,
        "intermediate_size": 32768,
        "num_hidden_layers": 64,
        "num_attention_heads": 48,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }
    activations: ClassVar[tuple[str, ...]] = ("gelu", "gelu_new", "gelu_pytorch_tanh")
    default_epsilon = 1e-5
    default_tied: ClassVar[bool | None] = True
    own_head_dim = True
    head_dim_keys: ClassVar[HeadDimKeys] = "configured"
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        ("transformer.in_out_embed.", "model.embed_tokens."),
        ("transformer.rms_norm.", "model.norm."),
        ("transformer.decoder_layer.", "model.layers."),
        (".multi_head_attention.query.", ".self_attn.q_proj."),
        (".multi_head_attention.key.", ".self_attn.k_proj."),
        (".multi_head_attention.value.", ".self_attn.v_proj."),
        (".multi_head_attention.linear.", ".self_attn.o_proj."),
        (".rms_norm.", ".pre_attn_norm."),
        (".rms_norm_1.", ".post_attn_norm."),
        (".rms_norm_2.", ".pre_moe_norm."),
        (".rms_norm_3.", ".post_moe_norm."),
        (".router.", ".block_sparse_moe.gate."),
        (".moe.", ".block_sparse_moe.experts."),
        (".linear.", ".w1."),
        (".linear_1.", ".w2."),
        (".linear_v.", ".w3."),
    )
    norms: ClassVar[dict[str, str]] = {
        "attn_norm": "pre_attn_norm",
        "attn_output_norm": "post_attn_norm",
        "ffn_norm": "pre_moe_norm",
        "layer_output_norm": "post_moe_norm",
    }

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_expert = self.size("num_local_experts")
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=n_expert)
        self.n_ff_expert = config.optional_size("moe_intermediate_size")

    def metadata(self) -> Metadata:
        prefix, config = self.gguf_name, self.config
        keys = super().metadata() | expert_count_metadata(
            prefix, self.hyperparameters.n_expert, self.size("num_experts_per_tok")
        )
        scale = config.number("attn_output_multiplier", self.head_dim**-0.5)
        keys |= {
            f"{prefix}.attn_logit_softcapping": float32(config.number("attn_logit_softcapping", 30.0)),
            f"{prefix}.router_logit_softcapping": float32(config.number("router_logit_softcapping", 30.0)),
            f"{prefix}.attention.output_scale": float32(scale),
            f"{prefix}.embedding_scale": float32(
                config.number("embedding_multiplier_scale", EMBEDDING_SCALE)
            ),
            f"{prefix}.logit_scale": float32(config.number("output_multiplier_scale", OUTPUT_SCALE)),
        }
        cap = config.optional_number("final_logit_softcapping")
        if cap:
            keys[f"{prefix}.final_logit_softcapping"] = float32(cap)
        if self.n_ff_expert is not None:
            keys[f"{prefix}.expert_feed_forward_length"] = uint32(self.n_ff_expert)
        length = config.optional_size("attn_temperature_len")
        if length is not None:
            keys[f"{prefix}.attention.temperature_length"] = uint32(length)
        return keys | self._scaling_metadata()

    def _scaling_metadata(self) -> Metadata:
        """Return the keys of YaRN, whose settings Grok 2 has outside of a section."""
        config, scaling = self.config, f"{self.gguf_name}.rope.scaling"
        kind = config.optional_text("rope_type")
        if kind is None:
            return {}
        if kind not in YARN_NAMES:
            raise CheckpointError(
                f"config.json has the rope_type {kind!r}; llama.cpp's `grok` knows YaRN only"
            )
        return {
            f"{scaling}.type": string("yarn"),
            f"{scaling}.factor": float32(config.number("scaling_factor")),
            f"{scaling}.original_context_length": uint32(config.size(ORIGINAL)),
            **{
                f"{scaling}.{key}": float32(config.number(name, default))
                for key, (name, default) in YARN.items()
            },
        }

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, moe = self.hyperparameters, f"{source}.block_sparse_moe"
        experts = gated_matrices(EXPERT, h.n_embd, self.n_ff_expert or h.n_ff)
        rules = [
            router_rule(f"{target}.ffn_gate_inp", f"{moe}.gate", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{moe}.experts", h.n_expert, experts),
        ]
        if self.config.flag("residual_moe", False):
            rules += super().feed_forward_rules(source, target)
        return rules


class Grok2(Grok):
    """Grok1ForCausalLM: Grok 2, its parts joined to whole matrices."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Grok1ForCausalLM",)
    reads_back = False
    norms: ClassVar[dict[str, str]] = {
        "attn_norm": "pre_attn_norm",
        "attn_output_norm": "post_attn_norm",
        "ffn_norm": "pre_moe_norm",
        "post_ffw_norm": "post_moe_norm",
    }
