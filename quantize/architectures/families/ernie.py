"""ERNIE 4.5 and its mixtures of experts, without the layers that predict further tokens."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys, LlamaLike
from quantize.architectures.base.moe import (
    PROJECTIONS,
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rules import TensorRule
from quantize.gguf.header import Metadata, boolean, uint32
from quantize.vocabulary.vocabulary import Vocabulary


class Ernie(LlamaLike):
    """Ernie4_5ForCausalLM; neighbours are rotated, which is what llama.cpp does, too."""

    gguf_name = "ernie4_5"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM")
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 103424,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 18,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131072,
    }
    default_theta = 5e5
    default_epsilon = 1e-5
    default_tied = True
    own_head_dim = True
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    renames: ClassVar[tuple[tuple[str, str], ...]] = (("ernie.", "model."),)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if config.optional_flag("use_bias", False):
            raise CheckpointError(
                f"config.json has use_bias; llama.cpp's `{self.gguf_name}` computes without biases"
            )

    def _head_size(self, share: int) -> int:
        return self.config.optional_size("head_dim", self.defaults.get("head_dim")) or share

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        prefix_space = vocabulary.tokenizer_config.get("add_prefix_space")
        if not isinstance(prefix_space, bool):
            return {}
        return {"tokenizer.ggml.add_space_prefix": boolean(prefix_space)}


class ErnieMoe(Ernie):
    """Ernie4_5_MoeForCausalLM: dense layers first, then experts, some of them always used."""

    gguf_name = "ernie4_5-moe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Ernie4_5_MoeForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 103424,
        "hidden_size": 2560,
        "intermediate_size": 12288,
        "num_hidden_layers": 28,
        "num_attention_heads": 20,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
        "moe_intermediate_size": 1536,
        "moe_k": 6,
        "moe_num_experts": 64,
    }
    aliases: ClassVar[dict[str, str]] = {"num_experts": "moe_num_experts", "num_experts_per_tok": "moe_k"}
    head_dim_keys: ClassVar[HeadDimKeys] = "configured"
    ignored_prefixes: ClassVar[tuple[str, ...]] = ("mtp_",)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_layer = self.hyperparameters.n_layer
        last = config.raw("moe_layer_end_index")
        if config.size("moe_layer_interval", 1) != 1 or last not in (None, -1, n_layer - 1):
            raise CheckpointError(
                "config.json has layers without experts after the first with them (moe_layer_interval, "
                "moe_layer_end_index); llama.cpp's `ernie4_5-moe` has them in all that follow"
            )
        self.dense_layers = config.count("moe_layer_start_index", 1)
        self.n_shared = self.size("moe_intermediate_size") * config.count("moe_num_shared_experts", 2)
        self.hyperparameters = dataclasses.replace(
            self.hyperparameters, n_expert=self.size("moe_num_experts")
        )

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        keys = super().metadata()
        keys |= expert_count_metadata(prefix, self.hyperparameters.n_expert, self.size("moe_k"))
        keys[f"{prefix}.interleave_moe_layer_step"] = uint32(1)
        keys[f"{prefix}.leading_dense_block_count"] = uint32(self.dense_layers)
        keys[f"{prefix}.expert_feed_forward_length"] = uint32(self.size("moe_intermediate_size"))
        keys[f"{prefix}.expert_shared_count"] = uint32(self.config.count("moe_num_shared_experts", 2))
        if self.n_shared:
            keys[f"{prefix}.expert_shared_feed_forward_length"] = uint32(self.n_shared)
        return keys

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        if int(target.removeprefix("blk.")) < self.dense_layers:
            return super().feed_forward_rules(source, target)
        h, mlp = self.hyperparameters, f"{source}.mlp"
        experts = gated_matrices(PROJECTIONS, h.n_embd, self.size("moe_intermediate_size"))
        offsets = f"{mlp}.moe_statics.e_score_correction_bias"
        rules = [
            router_rule(f"{target}.ffn_gate_inp", f"{mlp}.gate", (h.n_expert, h.n_embd)),
            TensorRule(f"{target}.exp_probs_b.bias", (offsets,), (1, h.n_expert), optional=True, f32=True),
            *expert_rules(target, f"{mlp}.experts", h.n_expert, experts),
        ]
        if self.n_shared:
            shared = gated_matrices(PROJECTIONS, h.n_embd, self.n_shared)
            rules += plain_rules(target, "_shexp", f"{mlp}.shared_experts", shared)
        return rules
