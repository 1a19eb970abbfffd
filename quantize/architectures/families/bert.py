"""BERT, RoBERTa and XLM-RoBERTa: embeddings, classifiers and rerankers, llama.cpp's `bert`.

A classifier of BERT's puts its pooler (a matrix and tanh) before its last matrix, as RoBERTa does a matrix of
its own; llama.cpp has places for both. (The converter drops the pooler.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.encoder import Encoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Slice

FLASH_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
FLASH_NAMES = {
    "mixer.Wqkv": "attention.self.query_key_value",
    "mixer.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "norm2": "output.LayerNorm",
}
"""XLM-RoBERTa's usual names for those of checkpoints for flash attention (Jina's reranker v2)."""


class Bert(Encoder):
    """BertModel and what is built on it."""

    gguf_name = "bert"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "BertModel",
        "BertForMaskedLM",
        "BertForSequenceClassification",
    )
    ignored_suffixes: ClassVar[tuple[str, ...]] = ("embeddings.position_ids", "embeddings.token_type_ids")
    heads: ClassVar[tuple[str, ...]] = ("cls.predictions.", "cls.seq_relationship.")
    """The tensors of training heads, which no embedding needs."""

    classifier_dense: ClassVar[str] = "pooler.dense"
    classifier_output: ClassVar[str] = "classifier"
    is_fused: bool = False
    """True if q, k and v are one matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        kind = config.optional_text("position_embedding_type")
        if kind not in (None, "absolute"):
            raise CheckpointError(
                f"config.json has position_embedding_type {kind!r}; llama.cpp's `bert` has absolute ones only"
            )

    @property
    def position_offset(self) -> int:
        """Rows of the position embedding that no position uses."""
        return 0

    @property
    def context_length(self) -> int:
        return self.size("max_position_embeddings") - self.position_offset

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: a head of the training, or the pooler of a mere encoder."""
        name = name.removeprefix(self.base_prefix)
        pooler = name.startswith("pooler.") and not self._keeps_pooler
        return pooler or name.startswith(self.heads) or super().is_needless(name)

    @property
    def _keeps_pooler(self) -> bool:
        return self.classifies and self.classifier_dense.startswith("pooler.")

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, positions = self.hyperparameters, "embeddings.position_embeddings.weight"
        first, n, of = self.position_offset, self.context_length, self.size("max_position_embeddings")
        rules = self.embedding_rules()
        used = Slice(first, n, of)
        rules.append(TensorRule("position_embd.weight", (positions,), (n, h.n_embd), used, f32=True))
        for layer in range(h.n_layer):
            rules += self._layer_rules(f"encoder.layer.{layer}", f"blk.{layer}")
        if self.classifies:
            n_labels = len(self.labels)
            rules += linear_rules("cls", self.classifier_dense, (h.n_embd, h.n_embd), bias=True)
            rules += linear_rules("cls.output", self.classifier_output, (n_labels, h.n_embd), bias=True)
        return rules

    def _layer_rules(self, source: str, target: str) -> list[TensorRule]:
        h, attention = self.hyperparameters, f"{source}.attention"
        n, square = h.n_embd, (h.n_embd, h.n_embd)
        if self.is_fused:
            fused = f"{attention}.self.query_key_value"
            rules = linear_rules(f"{target}.attn_qkv", fused, (3 * n, n), bias=True)
        else:
            rules = []
            for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
                rules += linear_rules(f"{target}.attn_{part}", f"{attention}.self.{name}", square, bias=True)
        return [
            *rules,
            *linear_rules(f"{target}.attn_output", f"{attention}.output.dense", square, bias=True),
            *norm_rules(f"{target}.attn_output_norm", f"{attention}.output.LayerNorm", n, bias=True),
            *linear_rules(f"{target}.ffn_up", f"{source}.intermediate.dense", (h.n_ff, n), bias=True),
            *linear_rules(f"{target}.ffn_down", f"{source}.output.dense", (n, h.n_ff), bias=True),
            *norm_rules(f"{target}.layer_output_norm", f"{source}.output.LayerNorm", n, bias=True),
        ]


class Roberta(Bert):
    """RobertaModel: positions count from behind the padding token's id."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("RobertaModel", "RobertaForSequenceClassification")
    defaults: ClassVar[Mapping[str, int]] = {**Bert.defaults, "vocab_size": 50265}
    base_prefix: ClassVar[str] = "roberta."
    heads: ClassVar[tuple[str, ...]] = ("lm_head.",)
    classifier_dense: ClassVar[str] = "classifier.dense"
    classifier_output: ClassVar[str] = "classifier.out_proj"

    @property
    def position_offset(self) -> int:
        return self.config.count("pad_token_id", 1) + 1


class XLMRoberta(Roberta):
    """XLMRobertaModel, bge's and Jina's rerankers, and CamemBERT, which the converter takes for a BERT."""

    huggingface_names: ClassVar[tuple[str, ...]] = (
        "XLMRobertaModel",
        "XLMRobertaForSequenceClassification",
        "CamembertModel",
    )
    defaults: ClassVar[Mapping[str, int]] = Bert.defaults

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.is_fused = config.has("use_flash_attn")
        if config.has("lora_adaptations"):
            raise CheckpointError(
                "config.json has lora_adaptations: Jina's embeddings v3 choose an adapter per task, "
                "which isn't supported; use v2"
            )

    def usual_name(self, name: str) -> str:
        """Return the rules' name for a tensor, which those for flash attention have another one for."""
        name = name.removeprefix(self.base_prefix)
        if name.startswith("emb_ln."):
            name = name.replace("emb_ln.", "embeddings.LayerNorm.", 1)
        layer = FLASH_LAYER.fullmatch(name)
        if layer is not None and layer[2] in FLASH_NAMES:
            name = f"encoder.layer.{layer[1]}.{FLASH_NAMES[layer[2]]}.{layer[3]}"
        return super().usual_name(name)
