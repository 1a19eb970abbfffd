"""Qwen's models that see, and Omni, which also hears and speaks: their text models, with M-RoPE."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Final

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import ColumnsOfEach
from quantize.architectures.families.qwen2 import Qwen2
from quantize.architectures.families.qwen3 import Qwen3, Qwen3Moe
from quantize.gguf.header import Metadata, uint32

QWEN3_SECTIONS: Final = (24, 20, 20)
"""The pairs of numbers that turn with time, height and width in Qwen 3, where config.json is silent."""


class Qwen2VL(Qwen2):
    """Qwen2-VL and Qwen2.5-VL. llama.cpp's `qwen2vl` computes its norms with an epsilon of zero."""

    gguf_name = "qwen2vl"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen2VLModel",
    )
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 152064,
        "hidden_size": 8192,
        "intermediate_size": 29568,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
    }
    default_theta = 1e6
    default_epsilon = 1e-5
    headless_names: ClassVar[tuple[str, ...]] = ("Qwen2VLModel",)
    rotary_sections: ClassVar[tuple[int, ...]] = (16, 24, 24)
    """The pairs of numbers that turn with time, height and width, where config.json is silent."""

    def metadata(self) -> Metadata:
        return super().metadata() | self.rope.section_metadata(self.gguf_name, self.rotary_sections)


class Qwen2Omni(Qwen2VL):
    """Qwen2.5-Omni's thinker."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Qwen2_5OmniModel",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
    }
    default_epsilon = 1e-6
    sections: ClassVar[tuple[str, ...]] = ("thinker_config", "text_config")
    renames: ClassVar[tuple[tuple[str, str], ...]] = (("thinker.", ""),)


class Qwen3VL(Qwen3):
    """Qwen3VLForConditionalGeneration."""

    gguf_name = "qwen3vl"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Qwen3VLForConditionalGeneration",)
    defaults: ClassVar[dict[str, int]] = {**Qwen3.defaults, "max_position_embeddings": 128000}
    default_theta = 5e5
    kept_fields: ClassVar[tuple[str, ...]] = ("vision_config",)
    headless_names: ClassVar[tuple[str, ...]] = ()

    def metadata(self) -> Metadata:
        sections = self.rope.section_metadata(self.gguf_name, QWEN3_SECTIONS)
        return super().metadata() | sections | deep_layer_metadata(self.gguf_name, self.config)


class Qwen3VLMoe(Qwen3Moe):
    """Qwen3VLMoeForConditionalGeneration; its published experts are transposed."""

    gguf_name = "qwen3vlmoe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Qwen3VLMoeForConditionalGeneration",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "max_position_embeddings": 128000,
        "moe_intermediate_size": 1408,
        "num_experts": 60,
        "num_experts_per_tok": 4,
    }
    default_theta = 5e5
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    kept_fields: ClassVar[tuple[str, ...]] = ("vision_config",)

    def check_weights(self) -> None:
        """Check nothing: they are always normalized."""

    def metadata(self) -> Metadata:
        sections = self.rope.section_metadata(self.gguf_name, QWEN3_SECTIONS)
        return super().metadata() | sections | deep_layer_metadata(self.gguf_name, self.config)

    def fused_expert_rules(self, source: str, target: str) -> list[TensorRule]:
        h, n_ff = self.hyperparameters, self.size("moe_intermediate_size")
        shape = (h.n_expert, n_ff, h.n_embd)
        return [
            TensorRule(
                f"{target}.ffn_gate_exps.weight",
                (f"{source}.gate_up_proj",),
                shape,
                ColumnsOfEach(0, n_ff, of=2 * n_ff),
            ),
            TensorRule(
                f"{target}.ffn_up_exps.weight",
                (f"{source}.gate_up_proj",),
                shape,
                ColumnsOfEach(n_ff, n_ff, of=2 * n_ff),
            ),
            TensorRule(
                f"{target}.ffn_down_exps.weight",
                (f"{source}.down_proj",),
                (h.n_expert, h.n_embd, n_ff),
                ColumnsOfEach(0, h.n_embd, of=h.n_embd),
            ),
        ]

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the usual rules, in which experts of three axes are the transposed ones."""
        fused = {rule.name: rule for rule in self.fused_expert_rules(f"{source}.mlp.experts", target)}
        return [
            dataclasses.replace(rule, others=(fused[rule.name],)) if rule.name in fused else rule
            for rule in super().feed_forward_rules(source, target)
        ]


class Qwen3OmniMoe(Qwen3VLMoe):
    """Qwen3-Omni's thinker, whose experts are saved one by one."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Qwen3OmniMoeForConditionalGeneration",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 3584,
        "hidden_size": 2048,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "moe_intermediate_size": 768,
        "num_experts": 128,
        "num_experts_per_tok": 8,
    }
    default_theta = 1e6
    head_dim_keys: ClassVar[HeadDimKeys] = "configured"
    sections: ClassVar[tuple[str, ...]] = ("thinker_config", "text_config")
    kept_fields: ClassVar[tuple[str, ...]] = ()
    renames: ClassVar[tuple[tuple[str, str], ...]] = (("thinker.", ""),)
    default_normalizes = True

    def check_weights(self) -> None:
        """Check the weights of the used experts. Raises CheckpointError: they aren't normalized."""
        Qwen3Moe.check_weights(self)

    def metadata(self) -> Metadata:
        return super().metadata() | {f"{self.gguf_name}.n_deepstack_layers": uint32(0)}

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        return Qwen3Moe.feed_forward_rules(self, source, target)


def deep_layer_metadata(prefix: str, config: ModelConfig) -> Metadata:
    """Return the key of the number of layers into which images would go, besides the embeddings."""
    vision = config.section("vision_config") or ModelConfig({})
    layers = vision.numbers("deepstack_visual_indexes")
    return {f"{prefix}.n_deepstack_layers": uint32(3 if layers is None else len(layers))}
