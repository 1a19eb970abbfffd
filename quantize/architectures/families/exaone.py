"""LG's EXAONE 3 to 4.5, and its mixture of experts.

From EXAONE 4 on three of four layers have a window, and only they are rotated. The layers that predict
further tokens are kept as the last blocks.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

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
    leading_dense_layers,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import Constant
from quantize.architectures.families.deepseek import GATING
from quantize.architectures.families.qwen3 import HeadNorms
from quantize.gguf.header import Metadata, ValueType, array, boolean, float32, string, uint32

WINDOWED_LAYERS = 64
"""llama.cpp's `exaone4` has windows in models of so many layers only."""

FURTHER = {
    "fc": "eh_proj",
    "pre_fc_norm_embedding": "enorm",
    "pre_fc_norm_hidden": "hnorm",
    "norm": "shared_head.norm",
}
"""The tensors under `mtp.` that all layers which predict further tokens share, and their names in one."""


class Exaone(LlamaLike):
    """ExaoneForCausalLM (EXAONE 3.0 and 3.5), under GPT-2's names."""

    gguf_name = "exaone"
    huggingface_names: ClassVar[tuple[str, ...]] = ("ExaoneForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 102400,
        "hidden_size": 2048,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    }
    aliases: ClassVar[Mapping[str, str]] = {"num_layers": "num_hidden_layers"}
    base_prefix = "transformer."
    activation_name = "activation_function"
    epsilon_names: ClassVar[tuple[str, ...]] = ("layer_norm_epsilon",)
    default_epsilon = 1e-5
    embedding_name = "transformer.wte"
    last_norm_name = "transformer.ln_f"
    has_rope_factors = True
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        (".attn.attention.out_proj.", ".self_attn.o_proj."),
        (".attn.attention.", ".self_attn."),
        (".mlp.c_fc_0.", ".mlp.gate_proj."),
        (".mlp.c_fc_1.", ".mlp.up_proj."),
        (".mlp.c_proj.", ".mlp.down_proj."),
        (".ln_1.", ".input_layernorm."),
        (".ln_2.", ".post_attention_layernorm."),
    )

    def usual_name(self, name: str) -> str:
        """Return the rules' name for a tensor; layers have GPT-2's name, with or without the base's."""
        return re.sub(r"^(?:transformer\.)?h\.", "model.layers.", super().usual_name(name))

    def metadata(self) -> Metadata:
        share = self.rotary_share(1.0)
        return super().metadata() | {
            f"{self.gguf_name}.rope.dimension_count": uint32(int(self.head_dim * share))
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        return [*super().tensor_rules(), *factor_rules(self)]


class Exaone4(HeadNorms):
    """Exaone4ForCausalLM, and the text model of Exaone4_5_ForConditionalGeneration."""

    gguf_name = "exaone4"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "Exaone4ForCausalLM",
        "Exaone4_5_ForConditionalGeneration",
    )
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 102400,
        "hidden_size": 4096,
        "intermediate_size": 16384,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 2048,
    }
    norms: ClassVar[Mapping[str, str]] = {
        "post_attention_norm": "post_attention_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    }
    biases: ClassVar[dict[str, tuple[str, bool]]] = {}
    default_epsilon = 1e-5
    null_kv_heads = False
    own_head_dim = False
    has_rope_factors = True
    head_dim_keys: ClassVar[HeadDimKeys] = "configured"
    sections: ClassVar[tuple[str, ...]] = ("text_config",)
    ignored_prefixes: ClassVar[tuple[str, ...]] = (*SEEING_AND_HEARING, "mtp.")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.n_main = self.hyperparameters.n_layer
        self.n_further = config.count("num_nextn_predict_layers", 0)
        self.window = config.optional_size("sliding_window", 4096)
        self.check_window()
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_layer=self.n_main + self.n_further)

    def check_window(self) -> None:
        """Check the window. Raises CheckpointError: one that llama.cpp doesn't have."""
        if self.window is not None and self.n_main != WINDOWED_LAYERS:
            raise CheckpointError(
                f"config.json has a sliding_window and {self.n_main} layers; llama.cpp's `exaone4` has "
                f"windows in models of {WINDOWED_LAYERS} layers only, and rotates every layer of the others"
            )

    def windowed_layers(self) -> tuple[bool, ...]:
        """Return for each layer True if it has the window. Raises CheckpointError."""
        kinds = self.config.texts("layer_types")
        pattern = self.config.raw("sliding_window_pattern")
        if kinds is not None:
            layers = tuple(kind == "sliding_attention" for kind in kinds)
        elif isinstance(pattern, str) and pattern:
            layers = tuple(pattern[layer % len(pattern)] == "L" for layer in range(self.n_main))
        else:
            period = self.config.size("sliding_window_pattern", 4)
            layers = tuple((layer + 1) % period != 0 for layer in range(self.n_main))
        if len(layers) != self.n_main:
            raise CheckpointError(
                f"layer_types in config.json has {len(layers)} entries; expected are {self.n_main}"
            )
        return layers

    def metadata(self) -> Metadata:
        prefix, keys = self.gguf_name, super().metadata()
        keys[f"{prefix}.vocab_size"] = uint32(self.vocabulary_size)
        if self.window is not None:
            keys[f"{prefix}.attention.sliding_window"] = uint32(self.window)
            layers = self.windowed_layers()
            keys[f"{prefix}.attention.sliding_window_pattern"] = array(ValueType.BOOL, layers)
        return keys | further_layer_metadata(prefix, self.n_further) if self.n_further else keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, rules = self.hyperparameters, factor_rules(self)
        further = tuple(f"blk.{layer}." for layer in range(self.n_main, h.n_layer))
        for rule in super().tensor_rules():
            rules += optional_rules([rule]) if rule.name.startswith(further) else [rule]
        for layer in range(self.n_main, h.n_layer):
            for rule in further_layer_rules(f"blk.{layer}", "mtp", h.n_embd, self.vocabulary_size):
                shared = {f"mtp.{new}.weight": f"mtp.{old}.weight" for old, new in FURTHER.items()}
                if rule.sources[0] in shared:
                    rules.append(dataclasses.replace(rule, sources=(shared[rule.sources[0]],)))
        return rules

    def usual_name(self, name: str) -> str:
        """Return the rules' name for a tensor; `mtp.layers` are numbered after the others."""
        name = super().usual_name(name)
        found = re.match(r"(?:model\.)?mtp\.layers\.(\d+)\.", name)
        if found is not None and self.n_further:
            name = f"model.layers.{int(found[1]) + self.n_main}.{name[found.end() :]}"
        return name


class ExaoneMoe(Exaone4):
    """ExaoneMoeForCausalLM (K-EXAONE): norms before attention and feed-forward, and windows always."""

    gguf_name = "exaone-moe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM")
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        **Exaone4.defaults,
        "moe_intermediate_size": 1024,
        "num_experts": 64,
        "num_experts_per_tok": 8,
    }
    norms: ClassVar[Mapping[str, str]] = LlamaLike.norms
    own_head_dim = True
    needs_output = True
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        (".mlp.gate.e_score_correction_bias", ".mlp.e_score_correction_bias"),
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        names = ("first_k_dense_replace", "first_last_k_dense_replace")
        self.dense_layers = config.count(config.first(names) or names[0], 1)
        listed = leading_dense_layers(config)
        if listed is not None:
            self.dense_layers = listed
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=self.size("num_experts"))

    def check_window(self) -> None:
        """Check that there is one. Raises CheckpointError."""
        if self.window is None:
            raise CheckpointError("config.json has no sliding_window; llama.cpp's `exaone-moe` needs one")

    @property
    def n_shared(self) -> int:
        return self.size("moe_intermediate_size") * self.config.size("num_shared_experts", 1)

    def metadata(self) -> Metadata:
        config, prefix, n_used = self.config, self.gguf_name, self.size("num_experts_per_tok")
        return super().metadata() | {
            **expert_count_metadata(prefix, self.hyperparameters.n_expert, n_used),
            f"{prefix}.expert_group_count": uint32(config.size("n_group", 1)),
            f"{prefix}.expert_group_used_count": uint32(config.size("topk_group", 1)),
            f"{prefix}.expert_feed_forward_length": uint32(self.size("moe_intermediate_size")),
            f"{prefix}.expert_shared_count": uint32(config.size("num_shared_experts", 1)),
            f"{prefix}.expert_shared_feed_forward_length": uint32(self.n_shared),
            f"{prefix}.expert_weights_scale": float32(config.number("routed_scaling_factor", 2.5)),
            f"{prefix}.expert_weights_norm": boolean(config.flag("norm_topk_prob", True)),
            f"{prefix}.expert_gating_func": uint32(GATING["sigmoid"]),
            f"{prefix}.leading_dense_block_count": uint32(self.dense_layers),
            f"{prefix}.rope.scaling.type": string("none"),
            **further_layer_metadata(prefix, self.n_further),
        }

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        if not self.dense_layers <= int(target.removeprefix("blk.")) < self.n_main:
            return super().feed_forward_rules(source, target)
        h, mlp = self.hyperparameters, f"{source}.mlp"
        experts = gated_matrices(PROJECTIONS, h.n_embd, self.size("moe_intermediate_size"))
        shared = gated_matrices(PROJECTIONS, h.n_embd, self.n_shared)
        offsets = (f"{mlp}.e_score_correction_bias",)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{mlp}.gate", (h.n_expert, h.n_embd)),
            TensorRule(f"{target}.exp_probs_b.bias", offsets, (h.n_expert,), optional=True),
            *expert_rules(target, f"{mlp}.experts", h.n_expert, experts),
            *plain_rules(target, "_shexp", f"{mlp}.shared_experts", shared),
        ]


def factor_rules(family: LlamaLike) -> list[TensorRule]:
    """Return the rule of the frequencies' divisors, if the rotation has Llama 3's scaling."""
    factors = family.rope.llama3_factors(family.head_dim, family.context_length)
    if factors is None:
        return []
    return [TensorRule("rope_freqs.weight", (), (len(factors),), Constant(factors))]
