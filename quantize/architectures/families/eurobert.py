"""EuroBERT, and Jina's embeddings v5 built on it: Llama's shape, looking ahead, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys, LlamaLike
from quantize.architectures.base.vectors_only import VectorsOnly
from quantize.gguf.header import Metadata, boolean, string
from quantize.vocabulary.vocabulary import Vocabulary


class EuroBert(VectorsOnly, LlamaLike):
    """EuroBertModel and JinaEmbeddingsV5Model."""

    gguf_name = "eurobert"
    huggingface_names: ClassVar[tuple[str, ...]] = ("EuroBertModel", "JinaEmbeddingsV5Model")
    defaults: ClassVar[Mapping[str, int]] = {
        "vocab_size": 128256,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 8192,
    }
    default_epsilon = 1e-5
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    refused_flags: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("attention_bias", "mlp_bias"), "has no place for these biases"
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if self.rope.kind != "default":
            raise CheckpointError(
                f"config.json has rope_type {self.rope.kind!r}; llama.cpp's `eurobert` doesn't scale"
            )

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        return {
            **super().metadata(),
            f"{prefix}.attention.causal": boolean(False),
            f"{prefix}.rope.scaling.type": string("none"),
        }

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        """Return that no bos is added unless the tokenizer says so."""
        added = "bos" in vocabulary.special.add
        return {} if added else {"tokenizer.ggml.add_bos_token": boolean(False)}
