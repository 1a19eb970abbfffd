"""Llama 4, text only: experts in some layers; every fourth sees everything, without rotation.

The other layers see the tokens of their chunk of 8,192.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import SEEING_AND_HEARING
from quantize.architectures.base.moe import (
    FUSED,
    PROJECTIONS,
    expert_count_metadata,
    gated_matrices,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import ColumnsOfEach, Stack
from quantize.architectures.families.llama import Llama
from quantize.gguf.header import Metadata, uint32
from quantize.vocabulary.vocabulary import Vocabulary

WITHOUT_NORMS: Final = 128
"""The number of experts by which llama.cpp knows a model without norms of queries and keys."""

FIXED: Final[Mapping[str, Any]] = {
    "attention_chunk_size": 8192,
    "attn_temperature_tuning": True,
    "floor_scale": 8192,
    "attn_scale": 0.1,
    "no_rope_layer_interval": 4,
}
"""The settings that llama.cpp has as constants."""


class Llama4(Llama):
    """Llama4ForCausalLM, and the text part of Llama4ForConditionalGeneration."""

    gguf_name = "llama4"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Llama4ForConditionalGeneration", "Llama4ForCausalLM")
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 202048,
        "hidden_size": 5120,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "num_experts_per_tok": 1,
        "num_local_experts": 16,
        "interleave_moe_layer_step": 1,
    }
    default_theta = 500000.0
    default_epsilon = 1e-5
    null_kv_heads = False
    biases: ClassVar[dict[str, tuple[str, bool]]] = {}
    refused_flags: ClassVar[Mapping[str, str]] = {"attention_bias": "has no biases"}
    rotates_neighbours = False
    ignored_prefixes: ClassVar[tuple[str, ...]] = SEEING_AND_HEARING
    renames: ClassVar[tuple[tuple[str, str], ...]] = ((".feed_forward.", ".mlp."),)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.with_section("text_config"))
        self.expert_size, self.period = self.size("intermediate_size"), self.size("interleave_moe_layer_step")
        self.hyperparameters = dataclasses.replace(
            self.hyperparameters,
            n_ff=self.size("intermediate_size_mlp"),
            n_expert=self.size("num_local_experts"),
        )
        for name, value in FIXED.items():
            found = self.config.raw(name) if self.config.first([name]) is not None else value
            if found != value and not (value is True and found):
                raise self._unlike(f"{name} {found!r}", repr(value))
        n_layer = self.hyperparameters.n_layer
        rotated = tuple((layer + 1) % 4 != 0 for layer in range(n_layer))
        self._check_layers("no_rope_layers", self.config.numbers("no_rope_layers") or rotated, rotated)
        kinds = tuple("chunked_attention" if rotates else "full_attention" for rotates in rotated)
        self._check_layers("layer_types", self.config.texts("layer_types") or kinds, kinds)
        experts = tuple(range(self.period - 1, n_layer, self.period))
        listed = self.config.numbers("moe_layers")
        self._check_layers("moe_layers", experts if listed is None else listed, experts)
        has_norms = self.hyperparameters.n_expert != WITHOUT_NORMS
        if self.config.flag("use_qk_norm", True) != has_norms:
            raise self._unlike(f"use_qk_norm {not has_norms}", f"{has_norms} for this number of experts")

    def _check_layers(self, name: str, found: tuple[object, ...], known: tuple[object, ...]) -> None:
        if found != known:
            raise self._unlike(f"other {name} than usual", "the usual ones")

    def _unlike(self, fact: str, known: str) -> CheckpointError:
        return CheckpointError(f"config.json has {fact}; llama.cpp's `{self.gguf_name}` has {known} only")

    def metadata(self) -> Metadata:
        prefix, n_expert = self.gguf_name, self.hyperparameters.n_expert
        return {
            **super().metadata(),
            **expert_count_metadata(prefix, n_expert, self.size("num_experts_per_tok")),
            f"{prefix}.interleave_moe_layer_step": uint32(self.period),
            f"{prefix}.expert_feed_forward_length": uint32(self.expert_size),
        }

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        if (int(target.removeprefix("blk.")) + 1) % self.period:
            return super().feed_forward_rules(source, target)
        h, moe = self.hyperparameters, f"{source}.mlp"
        matrices = gated_matrices(PROJECTIONS, h.n_embd, self.expert_size)
        rules = [router_rule(f"{target}.ffn_gate_inp", f"{moe}.router", (h.n_expert, h.n_embd))]
        for part, (name, (n_out, n_in)) in matrices.items():
            shape = (h.n_expert, n_out, n_in)
            each = tuple(f"{moe}.experts.{expert}.{name}.weight" for expert in range(h.n_expert))
            stacked = TensorRule(f"{target}.ffn_{part}_exps.weight", each, shape, Stack(h.n_expert))
            columns = ColumnsOfEach(n_out * (part == "up"), n_out, n_out * (1 if part == "down" else 2))
            fused = (f"{moe}.experts.{FUSED[part]}",)
            rules.append(dataclasses.replace(stacked, sources=fused, transform=columns, others=(stacked,)))
        return rules + plain_rules(target, "_shexp", f"{moe}.shared_expert", matrices)

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        """Return no keys: Llama's concern older models."""
        del vocabulary
        return {}
