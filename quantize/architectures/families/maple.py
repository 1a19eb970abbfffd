"""Maple: experts everywhere, and windows in some layers; those without don't rotate."""

from __future__ import annotations

from typing import ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.architectures.families.qwen3 import Qwen3Moe
from quantize.gguf.header import Metadata, ValueType, array, uint32

LARGEST_GATE: Final = 7.0
"""The bound of an expert's gate and up, fixed in the makers' code."""


class Maple(Qwen3Moe):
    """MapleForCausalLM, by its makers' code."""

    gguf_name = "maple"
    huggingface_names: ClassVar[tuple[str, ...]] = ("MapleForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {}
    default_normalizes = True
    needs_output = True
    biases: ClassVar[dict[str, tuple[str, bool]]] = {}
    refused_flags: ClassVar[dict[str, str]] = {"attention_bias": "has no biases"}

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if config.count("num_shared_experts", 0):
            raise CheckpointError(
                f"config.json has num_shared_experts; llama.cpp's `{self.gguf_name}` has no shared experts"
            )
        if not config.flag("nope_on_global_attention", False):
            raise CheckpointError(
                "config.json has nope_on_global_attention false; llama.cpp's "
                f"`{self.gguf_name}` rotates in layers with a window only"
            )

    def metadata(self) -> Metadata:
        prefix, n_layer = self.gguf_name, self.hyperparameters.n_layer
        layers = sliding_layers(self.config, n_layer, 1)
        return super().metadata() | {
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
            f"{prefix}.rope.dimension_count": uint32(int(self.head_dim * self.rotary_share(1.0))),
            f"{prefix}.attention.sliding_window": uint32(self.config.size("sliding_window")),
            f"{prefix}.attention.sliding_window_pattern": array(ValueType.BOOL, layers),
            f"{prefix}.swiglu_clamp_exp": array(ValueType.FLOAT32, [LARGEST_GATE] * n_layer),
        }
