"""DistilBERT: BERT without types of tokens, under names of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from quantize.architectures.base.rules import TensorRule
from quantize.architectures.families.bert import Bert


class DistilBert(Bert):
    """DistilBertModel and DistilBertForMaskedLM."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("DistilBertModel", "DistilBertForMaskedLM")
    defaults: ClassVar[Mapping[str, int]] = {
        **Bert.defaults,
        "num_hidden_layers": 6,
        "type_vocab_size": 1,
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
    }
    names: ClassVar[Mapping[str, str]] = {
        "hidden_size": "dim",
        "intermediate_size": "hidden_dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
    }
    activation_name = "activation"
    base_prefix: ClassVar[str] = "distilbert."
    heads: ClassVar[tuple[str, ...]] = ("vocab_",)
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        ("transformer.layer.", "encoder.layer."),
        (".attention.q_lin.", ".attention.self.query."),
        (".attention.k_lin.", ".attention.self.key."),
        (".attention.v_lin.", ".attention.self.value."),
        (".attention.out_lin.", ".attention.output.dense."),
        (".sa_layer_norm.", ".attention.output.LayerNorm."),
        (".ffn.lin1.", ".intermediate.dense."),
        (".ffn.lin2.", ".output.dense."),
        (".output_layer_norm.", ".output.LayerNorm."),
    )

    @property
    def epsilon(self) -> float:
        """The norms' epsilon, which no configuration says."""
        return self.default_epsilon

    @property
    def tied_names(self) -> tuple[str, ...]:
        return ()

    def embedding_rules(self) -> list[TensorRule]:
        return [rule for rule in super().embedding_rules() if rule.name != "token_types.weight"]
