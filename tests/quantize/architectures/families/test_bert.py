"""BERT's relatives: CamemBERT is RoBERTa, and what llama.cpp can't compute is refused."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.registry import architecture_of

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 66,
}


def test_camembert_is_a_roberta() -> None:
    """The converter takes it for a BERT, whose positions begin elsewhere and whose words have pieces."""
    camembert, roberta = (
        architecture_of({**SIZES, "architectures": [name], "pad_token_id": 1})
        for name in ("CamembertModel", "XLMRobertaModel")
    )
    assert camembert.metadata() == roberta.metadata()
    assert camembert.tensor_rules() == roberta.tensor_rules()
    assert camembert.context_length == 64
    assert camembert.tensor_name("roberta.embeddings.LayerNorm.weight") == "embeddings.LayerNorm.weight"


@pytest.mark.parametrize(
    ("name", "fault", "fields"),
    [
        ("ModernBertModel", "norm_bias", {"norm_bias": True}),
        ("ModernBertForSequenceClassification", "classifier_bias", {"classifier_bias": True}),
        ("ModernBertForSequenceClassification", "classifier_activation", {"classifier_activation": "relu"}),
        ("ModernBertModel", "hidden_act", {"hidden_activation": "relu"}),
        ("ModernBertModel", "rope_type 'linear'", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
        ("ModernBertModel", "layer_types", {"layer_types": ["sliding_attention"] * 3 + ["full_attention"]}),
        ("NeoBERT", "rope false", {"rope": False}),
        ("NeoBERT", "swiglu", {"hidden_act": "gelu"}),
        ("EuroBertModel", "attention_bias", {"attention_bias": True}),
        ("EuroBertModel", "rope_type 'linear'", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    ],
)
def test_what_llama_cpp_cant_compute(name: str, fault: str, fields: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=fault):
        architecture_of({**SIZES, "architectures": [name], **fields})


def test_modern_berts_layers_that_see_all() -> None:
    for fields in (
        {"global_attn_every_n_layers": 2},
        {"layer_types": ["full_attention", "sliding_attention"] * 2},
    ):
        keys = architecture_of({**SIZES, "architectures": ["ModernBertModel"], **fields}).metadata()
        assert keys["modern-bert.attention.sliding_window_pattern"].data == 2


def test_both_spellings_of_modern_berts_bases() -> None:
    older: dict[str, Any] = {"global_rope_theta": 5.0, "local_rope_theta": 7.0}
    newer = {
        "rope_parameters": {"full_attention": {"rope_theta": 5.0}, "sliding_attention": {"rope_theta": 7.0}}
    }
    for fields in (older, newer):
        keys = architecture_of({**SIZES, "architectures": ["ModernBertModel"], **fields}).metadata()
        assert keys["modern-bert.rope.freq_base"].data == 5.0
        assert keys["modern-bert.rope.freq_base_swa"].data == 7.0
