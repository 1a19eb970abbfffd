"""Mellum 2: Qwen 3's mixture of experts with a window in some layers, where YaRN doesn't stretch."""

from __future__ import annotations

from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys
from quantize.architectures.base.rope import DEFAULT_THETA, Rope
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.architectures.families.qwen3 import Qwen3Moe
from quantize.gguf.header import Metadata, ValueType, array, float32, uint32


class Mellum(Qwen3Moe):
    """MellumForCausalLM, without the layer that predicts further tokens."""

    gguf_name = "mellum"
    huggingface_names: ClassVar[tuple[str, ...]] = ("MellumForCausalLM",)
    ignored_prefixes = (*Qwen3Moe.ignored_prefixes, "mtp.")
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 98304,
        "hidden_size": 2304,
        "intermediate_size": 7168,
        "num_hidden_layers": 28,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "moe_intermediate_size": 896,
        "num_experts": 64,
        "num_experts_per_tok": 8,
    }
    default_theta = 500000.0
    needs_output = True
    biases: ClassVar[dict[str, tuple[str, bool]]] = {}
    refused_flags: ClassVar[dict[str, str]] = {"attention_bias": "has no biases"}
    aliases: ClassVar[dict[str, str]] = {
        "num_local_experts": "num_experts",
        "rope_scaling": "rope_parameters",
    }
    default_normalizes = True
    head_dim_keys: ClassVar[HeadDimKeys] = "always"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        kinds = set(config.texts("mlp_layer_types") or ())
        if not kinds <= {"sparse"}:
            raise CheckpointError(
                f"config.json has layers without experts (mlp_layer_types); llama.cpp's `{self.gguf_name}` "
                "has experts in every layer"
            )

    def _read_rope(self) -> Rope:
        """Return the settings of layers without a window, and set `local`, those of the others."""
        full, self.local = Rope.of_sections(self.config, self.default_theta, DEFAULT_THETA)
        return full

    def metadata(self) -> Metadata:
        prefix, keys, n_layer = self.gguf_name, super().metadata(), self.hyperparameters.n_layer
        layers = sliding_layers(self.config, n_layer, 1)
        if not any(layers):
            return keys
        self.rope.check_windows(self.local, prefix)
        return keys | {
            f"{prefix}.rope.freq_base_swa": float32(self.local.theta),
            f"{prefix}.attention.sliding_window": uint32(self.config.size("sliding_window", 1024)),
            f"{prefix}.attention.sliding_window_pattern": array(ValueType.BOOL, layers),
        }
