"""Qwen 1.5 to 2.5, their mixtures of experts, and the models made from them.

Their sliding window is switched off in every published model; llama.cpp has none here, so one is refused.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import SEEING_AND_HEARING
from quantize.architectures.base.llama_like import QKV, HeadDimKeys, LlamaLike
from quantize.architectures.base.moe import (
    PROJECTIONS,
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rules import TensorRule
from quantize.gguf.header import Metadata, uint32


class Qwen2(LlamaLike):
    """Qwen2ForCausalLM: biases of queries, keys and values.

    Qwen2Model may lack an output matrix; the two that hear have Qwen2's text model in `text_config`.
    """

    gguf_name = "qwen2"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "Qwen2ForCausalLM",
        "Qwen2Model",
        "Qwen2AudioForConditionalGeneration",
        "AudioFlamingo3ForConditionalGeneration",
    )
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
    }
    biases: ClassVar[dict[str, tuple[str, bool]]] = dict.fromkeys(QKV, ("qkv_bias", True))
    refused_flags: ClassVar[dict[str, str]] = {"use_sliding_window": "attends to everything"}
    headless_names: ClassVar[tuple[str, ...]] = ("Qwen2Model",)
    sections: ClassVar[tuple[str, ...]] = ("text_config",)
    ignored_prefixes: ClassVar[tuple[str, ...]] = SEEING_AND_HEARING


class Kormo(Qwen2):
    """KORMoForCausalLM: other names of the norms, and usually no biases."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("KORMoForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 112576,
        "hidden_size": 6144,
        "intermediate_size": 21504,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131072,
    }
    default_theta = 5e5
    default_epsilon = 1e-5
    norms: ClassVar[dict[str, str]] = {
        "attn_norm": "pre_attention_layernorm",
        "ffn_norm": "pre_mlp_layernorm",
    }
    biases: ClassVar[dict[str, tuple[str, bool]]] = dict.fromkeys(QKV, ("attention_bias", False))
    head_dim_keys: ClassVar[HeadDimKeys] = "always"


class Qwen2Moe(Qwen2):
    """Qwen2MoeForCausalLM: experts, and one that is always used as far as its gate says."""

    gguf_name = "qwen2moe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Qwen2MoeForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "max_position_embeddings": 32768,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "num_experts": 60,
        "num_experts_per_tok": 4,
    }
    needs_output = True
    null_kv_heads = False
    normalizes_weights: ClassVar[bool] = False
    """True if llama.cpp makes the used experts' weights sum to one."""

    default_normalizes: ClassVar[bool] = False
    """`norm_topk_prob` where config.json is silent."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        require_experts_everywhere(config)
        self.check_weights()
        n_expert = config.optional_size("num_local_experts") or self.size("num_experts")
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=n_expert)

    def metadata(self) -> Metadata:
        n_expert, n_used = self.hyperparameters.n_expert, self.size("num_experts_per_tok")
        keys = super().metadata() | expert_count_metadata(self.gguf_name, n_expert, n_used)
        keys[f"{self.gguf_name}.expert_feed_forward_length"] = uint32(self.size("moe_intermediate_size"))
        if self.has_shared_expert:
            shared = self.size("shared_expert_intermediate_size")
            keys[f"{self.gguf_name}.expert_shared_feed_forward_length"] = uint32(shared)
        return keys

    def check_weights(self) -> None:
        """Check the weights of the used experts.

        Raises CheckpointError: they are normalized, or aren't, other than in llama.cpp.
        """
        if self.config.flag("norm_topk_prob", self.default_normalizes) != self.normalizes_weights:
            expected = "true" if self.normalizes_weights else "false"
            raise CheckpointError(
                f"config.json has another norm_topk_prob than {expected}, which is all that llama.cpp's "
                f"`{self.gguf_name}` computes"
            )

    @property
    def has_shared_expert(self) -> bool:
        return "shared_expert_intermediate_size" in self.defaults

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, mlp = self.hyperparameters, f"{source}.mlp"
        experts = gated_matrices(PROJECTIONS, h.n_embd, self.size("moe_intermediate_size"))
        rules = [
            router_rule(f"{target}.ffn_gate_inp", f"{mlp}.gate", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{mlp}.experts", h.n_expert, experts),
        ]
        if self.has_shared_expert:
            shared = gated_matrices(PROJECTIONS, h.n_embd, self.size("shared_expert_intermediate_size"))
            rules.append(
                router_rule(f"{target}.ffn_gate_inp_shexp", f"{mlp}.shared_expert_gate", (1, h.n_embd))
            )
            rules += plain_rules(target, "_shexp", f"{mlp}.shared_expert", shared)
        return rules


def require_experts_everywhere(config: ModelConfig) -> None:
    """Check the layers.

    Raises CheckpointError: some have no experts, which llama.cpp can't express for Qwen.
    """
    if config.size("decoder_sparse_step", 1) != 1 or config.numbers("mlp_only_layers"):
        raise CheckpointError(
            "config.json has layers without experts (decoder_sparse_step, mlp_only_layers); llama.cpp's Qwen "
            "has experts in every layer"
        )
