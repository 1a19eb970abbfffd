"""openPangu-Embedded: Llama with biases in attention."""

from __future__ import annotations

from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import ATTENTION, HeadDimKeys, LlamaLike
from quantize.gguf.header import Metadata, boolean, uint32
from quantize.vocabulary.vocabulary import Vocabulary


class PanguEmbedded(LlamaLike):
    """PanguEmbeddedForCausalLM, by its makers' code."""

    gguf_name = "pangu-embedded"
    huggingface_names: ClassVar[tuple[str, ...]] = ("PanguEmbeddedForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 153376,
        "hidden_size": 4096,
        "intermediate_size": 12800,
        "num_hidden_layers": 34,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
    }
    default_epsilon = 1e-5
    default_theta = 16000000.0
    biases: ClassVar[dict[str, tuple[str, bool]]] = dict.fromkeys(ATTENTION, ("bias", True))
    own_head_dim = True
    head_dim_keys: ClassVar[HeadDimKeys] = "always"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not config.flag("bias", True):
            raise CheckpointError(f"config.json has bias false; llama.cpp's `{self.gguf_name}` needs biases")

    def metadata(self) -> Metadata:
        return super().metadata() | {
            f"{self.gguf_name}.vocab_size": uint32(self.vocabulary_size),
            f"{self.gguf_name}.rope.dimension_count": uint32(self.head_dim),
        }

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        prefix_space = vocabulary.tokenizer_config.get("add_prefix_space")
        if isinstance(prefix_space, bool):
            return {"tokenizer.ggml.add_space_prefix": boolean(prefix_space)}
        return {}
