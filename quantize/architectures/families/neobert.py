"""NeoBERT: norms before their layers, rotated neighbours, SwiGLU; each head's q, k and v together.

llama.cpp expects all heads' q, then k, then v; the converter doesn't put them so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.encoder import Encoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.sentence_files import CLS
from quantize.architectures.base.transform import Runs
from quantize.gguf.header import Metadata, float32, string, uint32

MULTIPLE = 8
"""The feed-forward's size is two thirds of config.json's, rounded up to a multiple of this."""


class NeoBert(Encoder):
    """NeoBERT, NeoBERTLMHead, and classifiers."""

    gguf_name = "neo-bert"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "NeoBERT",
        "NeoBERTLMHead",
        "NeoBERTForSequenceClassification",
    )
    reads_back = False
    names: ClassVar[Mapping[str, str]] = {"max_position_embeddings": "max_length"}
    defaults: ClassVar[Mapping[str, int]] = {
        **Encoder.defaults,
        "num_hidden_layers": 28,
        "max_position_embeddings": 1024,
        "type_vocab_size": 1,
    }
    base_prefix: ClassVar[str] = "model."
    default_epsilon = 1e-6
    activations: ClassVar[tuple[str, ...]] = ("swiglu", "SwiGLU")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for flag in ("rms_norm", "rope"):
            if not config.flag(flag, True):
                raise CheckpointError(
                    f"config.json has {flag} false; llama.cpp's `neo-bert` computes nothing else"
                )

    @property
    def feed_forward_size(self) -> int:
        two_thirds = int(2 * self.hyperparameters.n_ff / 3)
        return -(-two_thirds // MULTIPLE) * MULTIPLE

    @property
    def epsilon(self) -> float:
        return self.config.number("norm_eps", self.default_epsilon)

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: that of the head that guesses masked tokens."""
        return name.startswith("decoder.") or super().is_needless(name)

    def metadata(self) -> Metadata:
        prefix, keys = self.gguf_name, super().metadata()
        del keys[f"{prefix}.attention.layer_norm_epsilon"]
        return {
            **keys,
            f"{prefix}.attention.layer_norm_rms_epsilon": float32(self.epsilon),
            f"{prefix}.feed_forward_length": uint32(self.feed_forward_size),
            f"{prefix}.rope.freq_base": float32(10000.0),
            f"{prefix}.rope.scaling.type": string("none"),
        }

    def folder_metadata(self, directory: Path) -> Metadata:
        """Return the keys of sentence-transformers' files; without any, the first token's vector counts."""
        return {f"{self.gguf_name}.pooling_type": uint32(CLS), **super().folder_metadata(directory)}

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, n_ff = self.hyperparameters, self.feed_forward_size
        n, size = h.n_embd, h.n_embd // h.n_head
        heads = tuple(
            ((3 * head + part) * size, (3 * head + part + 1) * size)
            for part in range(3)
            for head in range(h.n_head)
        )
        rules = [
            TensorRule("token_embd.weight", ("encoder.weight",), (self.vocabulary_size, n)),
            *norm_rules("enc.output_norm", "layer_norm", n),
        ]
        for layer in range(h.n_layer):
            source, target = f"transformer_encoder.{layer}", f"blk.{layer}"
            qkv = (f"{source}.qkv.weight",)
            rules.append(TensorRule(f"{target}.attn_qkv.weight", qkv, (3 * n, n), Runs(heads, 3 * n)))
            rules += norm_rules(f"{target}.attn_norm", f"{source}.attention_norm", n)
            rules += linear_rules(f"{target}.attn_output", f"{source}.wo", (n, n))
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.ffn_norm", n)
            rules += linear_rules(f"{target}.ffn_up", f"{source}.ffn.w12", (2 * n_ff, n))
            rules += linear_rules(f"{target}.ffn_down", f"{source}.ffn.w3", (n, n_ff))
        if self.classifies:
            rules += linear_rules("cls", "dense", (n, n), bias=True)
            rules += linear_rules("cls.output", "classifier", (len(self.labels), n), bias=True)
        return rules
