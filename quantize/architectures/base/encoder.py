"""What encoders of BERT's kind share: sizes, keys, labels, pooling, the rules of their embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.architecture import Architecture, Hyperparameters, TensorRule
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import norm_rules
from quantize.architectures.base.pooling import pooling_type
from quantize.gguf.header import Metadata, boolean, float32, strings, uint32
from quantize.vocabulary.vocabulary import Vocabulary


class Encoder(Architecture):
    """An encoder with learned or computed positions, whose norms follow their layers."""

    defaults: ClassVar[Mapping[str, int]] = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 512,
        "vocab_size": 30522,
        "type_vocab_size": 2,
    }
    """The sizes that transformers' configuration class assumes where config.json is silent."""

    names: ClassVar[Mapping[str, str]] = {}
    """Where config.json has another name for one of them."""

    default_epsilon: ClassVar[float] = 1e-12
    activations: ClassVar[tuple[str, ...]] = (
        "gelu",
        "gelu_new",
        "gelu_python",
        "gelu_pytorch_tanh",
        "gelu_fast",
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_embd, n_head = self.size("hidden_size"), self.size("num_attention_heads")
        if n_embd % n_head:
            raise CheckpointError(
                f"config.json has {n_head} heads for an embedding of {n_embd}; it must be a multiple of them"
            )
        self.hyperparameters = Hyperparameters(
            n_embd=n_embd,
            n_ff=self.size("intermediate_size"),
            n_layer=self.size("num_hidden_layers"),
            n_head=n_head,
            n_head_kv=n_head,
            n_embd_head_k=n_embd // n_head,
            n_embd_head_v=n_embd // n_head,
        )
        activation = config.text("hidden_act")
        if activation is not None and activation not in self.activations:
            raise CheckpointError(
                f"config.json has hidden_act {activation!r}; llama.cpp's `{self.gguf_name}` computes "
                f"{self.activations[0]} only"
            )

    def size(self, name: str) -> int:
        """A size of config.json by transformers' name, or this family's default for it."""
        own = self.names.get(name)
        found = None if own is None else self.config.optional_size(own)
        return self.config.size(name, self.defaults.get(name)) if found is None else found

    @property
    def context_length(self) -> int:
        return self.size("max_position_embeddings")

    @property
    def vocabulary_size(self) -> int:
        return self.size("vocab_size")

    @property
    def classifies(self) -> bool:
        """Whether this is a classifier or a reranker."""
        return self.config.architecture().endswith("ForSequenceClassification")

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names in order. Two without names are the default of models without any."""
        labels = self.config.numbered_texts("id2label")
        if labels is None:
            labels = tuple(f"LABEL_{i}" for i in range(self.config.count("num_labels", 2)))
        return () if labels == ("LABEL_0", "LABEL_1") and not self.classifies else labels

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        keys: Metadata = {
            **self.common_sizes(),
            f"{prefix}.attention.layer_norm_epsilon": float32(self.epsilon),
            f"{prefix}.attention.causal": boolean(False),
        }
        if self.labels:
            keys[f"{prefix}.classifier.output_labels"] = strings(self.labels)
        return keys

    @property
    def epsilon(self) -> float:
        return self.config.number("layer_norm_eps", self.default_epsilon)

    def folder_metadata(self, directory: Path) -> Metadata:
        pooling = pooling_type(directory)
        return {} if pooling is None else {f"{self.gguf_name}.pooling_type": uint32(pooling)}

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        del vocabulary
        return {"tokenizer.ggml.token_type_count": uint32(self.size("type_vocab_size"))}

    def embedding_rules(self) -> list[TensorRule]:
        """Tokens, their types, and the norm over their sum."""
        n_embd, types = self.hyperparameters.n_embd, "embeddings.token_type_embeddings.weight"
        tokens = ("embeddings.word_embeddings.weight",)
        return [
            TensorRule("token_embd.weight", tokens, (self.vocabulary_size, n_embd)),
            TensorRule("token_types.weight", (types,), (self.size("type_vocab_size"), n_embd), f32=True),
            *norm_rules("token_embd_norm", "embeddings.LayerNorm", n_embd, bias=True),
        ]
