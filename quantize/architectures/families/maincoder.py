"""Maincoder: Llama that rotates neighbours, with norms of queries and keys behind the rotation."""

from __future__ import annotations

from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.families.qwen3 import HeadNorms
from quantize.gguf.header import Metadata, uint32


class Maincoder(HeadNorms):
    """MaincoderForCausalLM, by its makers' code."""

    gguf_name = "maincoder"
    huggingface_names: ClassVar[tuple[str, ...]] = ("MaincoderForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
    }
    default_epsilon = 1e-5
    default_theta = 1e6
    default_tied = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not config.flag("use_qk_norm", True):
            raise CheckpointError(
                f"config.json has use_qk_norm false; llama.cpp's `{self.gguf_name}` has norms of heads"
            )

    def metadata(self) -> Metadata:
        keys = super().metadata()
        if self.config.has("head_dim"):
            keys[f"{self.gguf_name}.rope.dimension_count"] = uint32(self.head_dim)
        return keys
