"""Cohere 2's mixtures of experts: Command A+, with dense layers first and experts in all behind them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.architectures.families.command_r import COHERE_SIZES
from quantize.architectures.families.deepseek import DeepseekExperts
from quantize.gguf.header import Metadata, ValueType, array, boolean, float32, string, uint32

PERIOD = 4
"""One of so many layers has no window."""


class Cohere2Moe(DeepseekExperts):
    """Cohere2MoeForCausalLM: the shared experts' result and the others' are averaged.

    Layers that predict further tokens are left out.
    """

    gguf_name = "cohere2moe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Cohere2MoeForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        **COHERE_SIZES,
        "head_dim": 128,
        "sliding_window": 4096,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_shared_experts": 0,
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "num_experts": "n_routed_experts",
        "num_shared_experts": "n_shared_experts",
        "expert_selection_fn": "scoring_func",
    }
    default_theta = 10000.0
    default_tied = True
    default_gating = "softmax"
    epsilon_names = ("layer_norm_eps",)
    own_head_dim = True
    may_predict_further = True
    reads_layer_types = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        dense_size = self.config.optional_size("prefix_dense_intermediate_size") or self.expert_size
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_ff=dense_size)
        self.sliding = self._sliding_layers()
        if self.config.flag("attention_bias", False) or self.rope.kind != "default":
            raise CheckpointError(
                "config.json has attention_bias or a rope scaling; llama.cpp's `cohere2moe` computes neither"
            )
        strategy = self.config.text("shared_expert_combination_strategy", "average")
        if self.shared_experts and strategy != "average":
            raise CheckpointError(
                f"config.json has shared_expert_combination_strategy {strategy!r}; llama.cpp's `cohere2moe` "
                "computes the average"
            )
        rotates_all = self.config.size("prefix_dense_sliding_window_pattern", 1) == 1
        if not rotates_all and not all(self.sliding[: self.dense_layers]):
            raise CheckpointError(
                "config.json has prefix_dense_sliding_window_pattern other than 1, and dense layers without "
                "a window; llama.cpp's `cohere2moe` rotates all dense layers' heads"
            )

    def _sliding_layers(self) -> tuple[bool, ...]:
        """Tell for each layer whether it has the window: dense layers have a pattern of their own."""
        n_layer, n_dense = self.hyperparameters.n_layer, self.dense_layers
        if self.config.has("layer_types"):
            return sliding_layers(self.config, n_layer, PERIOD)
        periods = (
            self.config.size("prefix_dense_sliding_window_pattern", 1),
            self.config.size("sliding_window_pattern", PERIOD),
        )
        dense = [(layer + 1) % periods[0] != 0 for layer in range(n_dense)]
        return (*dense, *((layer + 1) % periods[1] != 0 for layer in range(n_layer - n_dense)))

    @property
    def expert_size(self) -> int:
        return self.size("intermediate_size")

    def metadata(self) -> Metadata:
        prefix, config = self.gguf_name, self.config
        keys: Metadata = {
            **self.size_metadata(),
            **self.epsilon_metadata("layer_norm_epsilon"),
            **self.head_size_metadata(),
            **self.rope.metadata(prefix, self.context_length),
            **self.expert_metadata(),
            f"{prefix}.rope.scaling.type": string("none"),
            f"{prefix}.rope.dimension_count": uint32(self.head_dim),
            f"{prefix}.logit_scale": float32(config.number("logit_scale", 0.0625)),
            f"{prefix}.attention.sliding_window": uint32(self.size("sliding_window")),
            f"{prefix}.attention.sliding_window_pattern": array(ValueType.BOOL, self.sliding),
            # transformers' softmax is one of the experts that are chosen.
            f"{prefix}.expert_weights_norm": boolean(
                config.flag("norm_topk_prob", True) or config.text("scoring_func", "softmax") == "softmax"
            ),
        }
        if config.optional_number("rms_norm_eps") is not None:
            keys[f"{prefix}.attention.layer_norm_rms_epsilon"] = float32(config.number("rms_norm_eps"))
        if self.shared_experts:
            keys[f"{prefix}.expert_shared_feed_forward_length"] = uint32(self.shared_size)
        else:
            del keys[f"{prefix}.expert_shared_count"]
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = self.outer_rules()
        for layer in range(self.hyperparameters.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            norm = f"{source}.input_layernorm"
            rules += norm_rules(f"{target}.attn_norm", norm, self.hyperparameters.n_embd)
            rules += self.attention_rules(source, target)
            rules += self.feed_forward_rules(layer)
        return rules
