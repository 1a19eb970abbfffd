"""Qwen 3-Next, 3.5 and 3.6, dense and with experts: three gated delta nets, then a layer that attends.

Towers that see are left out. MiniCPM-V 4.6 is one around a Qwen 3.5.
"""

from __future__ import annotations

from typing import ClassVar

from quantize.architectures.base.decoder import SEEING_AND_HEARING
from quantize.architectures.base.delta_net import LINEAR_DEFAULTS, DeltaNet
from quantize.architectures.base.rules import TensorRule, linear_rules
from quantize.architectures.base.transform import Runs
from quantize.architectures.families.qwen2 import Qwen2Moe
from quantize.gguf.header import Metadata


class Qwen3Next(DeltaNet, Qwen2Moe):
    """Qwen3NextForCausalLM: queries, keys, values and gates of each key head fused, in that head's order."""

    gguf_name = "qwen3next"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Qwen3NextForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        **LINEAR_DEFAULTS,
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
        "num_experts": 512,
        "num_experts_per_tok": 10,
    }
    needs_output = False
    normalizes_weights = True
    default_normalizes = True
    shares_in_order = True

    def projection_rules(self, source: str, target: str) -> list[TensorRule]:
        n_embd, heads, state = self.hyperparameters.n_embd, self.n_key_heads, self.state
        n_value = self.n_value_heads * state
        share, of = n_value // heads, 2 * (self.n_keys // 2 + n_value)
        starts = range(0, of, of // heads)
        parts = [(0, state), (state, 2 * state), (2 * state, 2 * state + share)]
        runs = tuple((at + first, at + last) for first, last in parts for at in starts)
        gates = tuple((at + 2 * state + share, at + 2 * (state + share)) for at in starts)
        fused, steps = f"{source}.in_proj_qkvz", (2 * self.n_value_heads, n_embd)
        return [
            *linear_rules(f"{target}.attn_qkv", fused, (self.n_keys + n_value, n_embd), Runs(runs, of)),
            *linear_rules(f"{target}.attn_gate", fused, (n_value, n_embd), Runs(gates, of)),
            *linear_rules(f"{target}.ssm_ba", f"{source}.in_proj_ba", steps),
        ]


class MultimodalRope(DeltaNet):
    """Qwen 3.5's: rotary positions in three parts, and a matrix for each part of linear attention."""

    sections: ClassVar[tuple[str, ...]] = ("text_config",)
    ignored_prefixes: ClassVar[tuple[str, ...]] = (*SEEING_AND_HEARING, "vit_merger.", "merger.")

    def metadata(self) -> Metadata:
        return super().metadata() | self.rope.section_metadata(self.gguf_name, (11, 11, 10))

    def projection_rules(self, source: str, target: str) -> list[TensorRule]:
        n, n_embd = self.n_value_heads, self.hyperparameters.n_embd
        n_value = n * self.state
        gates, single = Runs(self.value_runs(self.state), n_value), Runs(self.value_runs(1), n)
        all_rows = (self.n_keys + n_value, n_embd)
        return [
            *linear_rules(f"{target}.attn_qkv", f"{source}.in_proj_qkv", all_rows, self.keys_and_values()),
            *linear_rules(f"{target}.attn_gate", f"{source}.in_proj_z", (n_value, n_embd), gates),
            *linear_rules(f"{target}.ssm_beta", f"{source}.in_proj_b", (n, n_embd), single),
            *linear_rules(f"{target}.ssm_alpha", f"{source}.in_proj_a", (n, n_embd), single),
        ]


class Qwen35(MultimodalRope):
    """Qwen3_5ForCausalLM, and the text part of Qwen3_5 and MiniCPMV4_6ForConditionalGeneration."""

    gguf_name = "qwen35"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "Qwen3_5ForCausalLM",
        "Qwen3_5ForConditionalGeneration",
        "MiniCPMV4_6ForConditionalGeneration",
    )
    defaults: ClassVar[dict[str, int]] = {
        **LINEAR_DEFAULTS,
        "vocab_size": 248320,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
    }


class Qwen35Moe(MultimodalRope, Qwen2Moe):
    """Qwen3_5MoeForCausalLM, and the text part of Qwen3_5MoeForConditionalGeneration."""

    gguf_name = "qwen35moe"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "Qwen3_5MoeForCausalLM",
        "Qwen3_5MoeForConditionalGeneration",
    )
    defaults: ClassVar[dict[str, int]] = {
        **LINEAR_DEFAULTS,
        "vocab_size": 248320,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 40,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
        "num_experts": 256,
        "num_experts_per_tok": 8,
    }
    needs_output = False
    normalizes_weights = True
    default_normalizes = True

    def metadata(self) -> Metadata:
        keys = super().metadata()
        if not self.config.has("intermediate_size"):  # the class has none: every layer has experts
            del keys[f"{self.gguf_name}.feed_forward_length"]
        return keys
