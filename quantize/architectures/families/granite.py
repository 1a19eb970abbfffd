"""Granite 3, and Granite with windows: Llama with four multipliers; mixtures have gate and up in one."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys
from quantize.architectures.base.moe import (
    expert_count_metadata,
    fused_expert_rule,
    fused_gate_up,
    router_rule,
)
from quantize.architectures.base.rope import Rope
from quantize.architectures.base.rules import TensorRule, linear_rules
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.architectures.families.llama import Llama
from quantize.gguf.header import Metadata, ValueType, array, float32, uint32

# config.json → GGUF. Each is one where it isn't said.
MULTIPLIERS = {
    "attention_multiplier": "attention.scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}


class Granite(Llama):
    """GraniteForCausalLM."""

    gguf_name = "granite"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GraniteForCausalLM",)
    own_head_dim = False
    head_dim_keys: ClassVar[HeadDimKeys] = "never"

    def metadata(self) -> Metadata:
        keys = super().metadata()
        for name, key in MULTIPLIERS.items():
            value = self.config.number(name, 1.0)
            if value == 0:
                raise CheckpointError(f"config.json has {name} 0, which leaves nothing; correct it")
            keys[f"{self.gguf_name}.{key}"] = float32(value)
        return keys


class GraniteMoe(Granite):
    """GraniteMoeForCausalLM, and GraniteMoeSharedForCausalLM with an expert that is always used."""

    gguf_name = "granitemoe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM")
    defaults: ClassVar[dict[str, int]] = {
        **Granite.defaults,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        (".experts.gate_up_proj", ".input_linear.weight"),
        (".experts.down_proj", ".output_linear.weight"),
        (".block_sparse_moe.router.weight", ".block_sparse_moe.router.layer.weight"),
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=self.expert_count)

    @property
    def expert_count(self) -> int:
        """The number of experts in each layer."""
        return self.size("num_local_experts")

    @property
    def n_ff_shared(self) -> int | None:
        """Rows of the expert that is always used; zero in config.json stands for none."""
        return self.config.count("shared_intermediate_size", 0) or None

    def metadata(self) -> Metadata:
        n_expert = self.hyperparameters.n_expert
        n_used = self.size("num_experts_per_tok") if n_expert else 0
        keys = super().metadata() | expert_count_metadata(self.gguf_name, n_expert, n_used)
        if self.n_ff_shared is not None:
            keys[f"{self.gguf_name}.expert_shared_feed_forward_length"] = uint32(self.n_ff_shared)
        return keys

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, moe, shared = self.hyperparameters, f"{source}.block_sparse_moe", f"{source}.shared_mlp"
        rules = [router_rule(f"{target}.ffn_gate_inp", f"{moe}.router.layer", (h.n_expert, h.n_embd))]
        for part in ("gate", "up", "down"):
            name = "output_linear.weight" if part == "down" else "input_linear.weight"
            each = (h.n_embd, h.n_ff) if part == "down" else (h.n_ff, h.n_embd)
            rules.append(fused_expert_rule(target, part, f"{moe}.{name}", (h.n_expert, *each)))
            if self.n_ff_shared is not None:
                n = self.n_ff_shared
                one = (h.n_embd, n) if part == "down" else (n, h.n_embd)
                half = fused_gate_up(part, n)
                rules.append(
                    TensorRule(f"{target}.ffn_{part}_shexp.weight", (f"{shared}.{name}",), one, half)
                )
        return rules


class SlidingGranite(Granite):
    """Granite with windows in most layers, and a logit of each head for attending to nothing."""

    def _read_rope(self) -> Rope:
        """Return the rotary settings: one base, and zero in layers that have no positions."""
        rope, bases = super()._read_rope(), self.config.numbers("layer_rope_theta")
        self.rotated_layers = None if bases is None else tuple(base != 0 for base in bases)
        known = {base for base in bases or () if base != 0}
        if len(known) > 1:
            raise CheckpointError(
                "config.json has several bases in layer_rope_theta; llama.cpp's `granite_swa` has one, and "
                "layers without positions"
            )
        return dataclasses.replace(rope, theta=known.pop()) if known else rope

    def metadata(self) -> Metadata:
        prefix, n_layer = self.gguf_name, self.hyperparameters.n_layer
        slides = [at % 4 != 0 for at in range(n_layer)]
        if self.config.has("layer_types"):
            slides = list(sliding_layers(self.config, n_layer, 4))
        keys = super().metadata()
        keys[f"{prefix}.attention.sliding_window"] = uint32(self.config.size("sliding_window", 128))
        keys[f"{prefix}.attention.sliding_window_pattern"] = array(ValueType.BOOL, slides)
        if self.rotated_layers is not None and not all(self.rotated_layers):
            if len(self.rotated_layers) != n_layer:
                raise CheckpointError(
                    f"layer_rope_theta in config.json has {len(self.rotated_layers)} numbers, not {n_layer}"
                )
            keys[f"{prefix}.attention.rope_pattern"] = array(ValueType.BOOL, self.rotated_layers)
        return keys

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        sinks = TensorRule(
            f"{target}.attn_sinks.weight", (f"{source}.self_attn.sinks",), (self.hyperparameters.n_head,)
        )
        return [*super().layer_attention_rules(source, target), sinks]


class GraniteSWA(SlidingGranite):
    """GraniteSWAForCausalLM."""

    gguf_name = "granite_swa"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GraniteSWAForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 100352,
        "hidden_size": 2560,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 20,
        "num_key_value_heads": 4,
        "max_position_embeddings": 8192,
    }
    default_epsilon = 1e-5
    default_tied = True


class GraniteMoeSWA(SlidingGranite, GraniteMoe):
    """GraniteMoeSWAForCausalLM: gate and up stay in one matrix."""

    gguf_name = "granite_swa"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GraniteMoeSWAForCausalLM",)
    reads_back = False

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, moe, shared = self.hyperparameters, f"{source}.block_sparse_moe", f"{source}.shared_mlp"
        both, down = (h.n_expert, 2 * h.n_ff, h.n_embd), (h.n_expert, h.n_embd, h.n_ff)
        rules = [
            router_rule(f"{target}.ffn_gate_inp", f"{moe}.router.layer", (h.n_expert, h.n_embd)),
            TensorRule(f"{target}.ffn_gate_up_exps.weight", (f"{moe}.input_linear.weight",), both),
            TensorRule(f"{target}.ffn_down_exps.weight", (f"{moe}.output_linear.weight",), down),
        ]
        if self.n_ff_shared is not None:
            n = self.n_ff_shared
            rules += linear_rules(f"{target}.ffn_up_shexp", f"{shared}.input_linear", (2 * n, h.n_embd))
            rules += linear_rules(f"{target}.ffn_down_shexp", f"{shared}.output_linear", (h.n_embd, n))
        return rules
