"""Encoders: what is refused and why, pooling, names and heads that the converter doesn't know."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.registry import architecture_of

BERT: dict[str, Any] = {"architectures": ["BertModel"], "num_hidden_layers": 1}
NOMIC: dict[str, Any] = {
    "architectures": ["NomicBertModel"],
    "activation_function": "swiglu",
    "causal": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "n_positions": 8192,
}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({**BERT, "hidden_act": "relu"}, "hidden_act 'relu'"),
        ({**BERT, "position_embedding_type": "relative_key"}, "relative_key"),
        ({**BERT, "num_attention_heads": 7}, "7 heads"),
        ({**BERT, "id2label": {"a": "b"}}, "id2label"),
        ({**BERT, "architectures": ["XLMRobertaModel"], "lora_adaptations": ["x"]}, "lora_adaptations"),
        ({**BERT, "architectures": ["JinaBertModel"], "feed_forward_type": "reglu"}, "reglu"),
        ({**BERT, "architectures": ["JinaBertModel"], "position_embedding_type": "absolute"}, "absolute"),
        ({**NOMIC, "prenorm": True}, "prenorm True"),
        ({**NOMIC, "n_positions": 512}, "n_positions 512"),
        ({**NOMIC, "moe_every_n_layers": 2, "num_experts": 8}, "activation_function 'swiglu'"),
        ({"architectures": ["T5ForConditionalGeneration"], "feed_forward_proj": "gated-silu"}, "gated-silu"),
    ],
)
def test_variants_that_llama_cpp_lacks(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        architecture_of(config).metadata()


def test_labels() -> None:
    classifier = {**BERT, "architectures": ["BertForSequenceClassification"]}
    assert "bert.classifier.output_labels" not in architecture_of(BERT).metadata()
    two = architecture_of(classifier)
    assert two.metadata()["bert.classifier.output_labels"].data == ("LABEL_0", "LABEL_1")
    named = architecture_of({**classifier, "id2label": {"10": "c", "2": "b", "1": "a"}})
    assert named.metadata()["bert.classifier.output_labels"].data == ("a", "b", "c")
    shapes = {rule.name: rule.shape for rule in named.tensor_rules()}
    assert shapes["cls.output.weight"] == (3, 768)
    assert shapes["cls.weight"] == (768, 768)


def test_jinas_first_reranker_has_one_score() -> None:
    jina = architecture_of({**BERT, "architectures": ["JinaBertForSequenceClassification"]})
    rules = {rule.name: rule for rule in jina.tensor_rules()}
    assert rules["cls.weight"].shape == (1, 768)
    assert rules["cls.weight"].sources == ("classifier.weight",)
    assert jina.tensor_name("bert.pooler.dense.weight") is None


def test_names_of_old_checkpoints() -> None:
    bert = architecture_of(BERT)
    assert bert.tensor_name("bert.embeddings.LayerNorm.gamma") == "embeddings.LayerNorm.weight"
    assert bert.tensor_name("cls.predictions.bias") is None
    assert bert.tensor_name("pooler.dense.weight") is None
    classifier = architecture_of({**BERT, "architectures": ["BertForSequenceClassification"]})
    assert classifier.tensor_name("bert.pooler.dense.weight") == "pooler.dense.weight"
