"""Granite 3: Llama with four multipliers; its mixtures of experts have gate and up in one matrix."""

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
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.families.llama import Llama
from quantize.gguf.header import Metadata, float32, uint32

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
        n_expert = self.size("num_local_experts")
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=n_expert)

    @property
    def n_ff_shared(self) -> int | None:
        """Rows of the expert that is always used; zero in config.json stands for none."""
        return self.config.count("shared_intermediate_size", 0) or None

    def metadata(self) -> Metadata:
        n_expert, n_used = self.hyperparameters.n_expert, self.size("num_experts_per_tok")
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
