"""JinaBERT (Jina's embeddings v2, its rerankers v1): ALiBi for positions, gated feed-forward layers.

Its code variant (JinaBERT-QK) has norms for queries and keys and one more after attention, and other names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.encoder import Encoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.families.bert import Bert
from quantize.gguf.header import Metadata, uint32
from quantize.vocabulary.vocabulary import Vocabulary

QK_NAMES = (
    (".mlp.up_gated_layer.", ".mlp.gated_layers."),
    (".mlp.down_layer.", ".mlp.wo."),
    (".layer_norm_2.", ".mlp.layernorm."),
)
"""The names of the code variant, and those of the others."""


class JinaBert(Encoder):
    """JinaBertModel."""

    gguf_name = "jina-bert-v2"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "JinaBertModel",
        "JinaBertForMaskedLM",
        "JinaBertForSequenceClassification",
    )
    renames: ClassVar[tuple[tuple[str, str], ...]] = QK_NAMES
    ignored_suffixes: ClassVar[tuple[str, ...]] = Bert.ignored_suffixes

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        kind = config.optional_text("feed_forward_type")
        if kind not in (None, "geglu"):
            raise CheckpointError(
                f"config.json has feed_forward_type {kind!r}; llama.cpp's `jina-bert-v2` computes geglu only"
            )
        positions = config.optional_text("position_embedding_type")
        if positions not in (None, "alibi"):
            raise CheckpointError(
                f"config.json has position_embedding_type {positions!r}; `jina-bert-v2` has alibi only"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of a classifier, for which llama.cpp has a place for one score."""
        return super().labels if self.classifies else ()

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: a head of the training, or the pooler."""
        head = name.removeprefix(self.base_prefix).startswith(("cls.predictions.", "pooler."))
        return head or super().is_needless(name)

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.embedding_rules()
        for layer in range(h.n_layer):
            rules += self._layer_rules(f"encoder.layer.{layer}", f"blk.{layer}")
        if self.classifies:
            rules += linear_rules("cls", "classifier", (1, h.n_embd), bias=True)
        return rules

    def _layer_rules(self, source: str, target: str) -> list[TensorRule]:
        h, attention, mlp = self.hyperparameters, f"{source}.attention", f"{source}.mlp"
        n, square = h.n_embd, (h.n_embd, h.n_embd)
        up, up_bias = (f"{mlp}.gated_layers.weight",), (f"{mlp}.gated_layers.bias",)
        rules = [
            *linear_rules(f"{target}.attn_output", f"{attention}.output.dense", square, bias=True),
            *norm_rules(f"{target}.attn_output_norm", f"{attention}.output.LayerNorm", n, bias=True),
            TensorRule(f"{target}.ffn_up.weight", up, (2 * h.n_ff, n)),
            TensorRule(f"{target}.ffn_up.bias", up_bias, (2 * h.n_ff,), optional=True),
            *linear_rules(f"{target}.ffn_down", f"{mlp}.wo", (n, h.n_ff), bias=True),
            *norm_rules(f"{target}.layer_output_norm", f"{mlp}.layernorm", n, bias=True),
        ]
        for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
            rules += linear_rules(f"{target}.attn_{part}", f"{attention}.self.{name}", square, bias=True)
        more = {
            "attn_q_norm": f"{attention}.self.layer_norm_q",
            "attn_k_norm": f"{attention}.self.layer_norm_k",
            "attn_norm_2": f"{source}.layer_norm_1",
        }
        for gguf, name in more.items():
            for part in ("weight", "bias"):
                rules.append(TensorRule(f"{target}.{gguf}.{part}", (f"{name}.{part}",), (n,), optional=True))
        return rules

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        if vocabulary.model == "bert":
            return super().vocabulary_metadata(vocabulary)
        return {"tokenizer.ggml.token_type_count": uint32(2)}
