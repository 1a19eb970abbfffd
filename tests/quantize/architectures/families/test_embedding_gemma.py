"""EmbeddingGemma and LFM2's embedders: layers that llama.cpp doesn't compute, and missing files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.families.embedding_gemma import EmbeddingGemma
from quantize.architectures.families.lfm2 import Lfm2Embedder
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.sentence_modules import DenseLayer
from tests.pico import write_json

WIDE = DenseLayer("2_Dense", 768, 3072, False, "torch.nn.modules.linear.Identity")
BACK = dataclasses.replace(WIDE, folder="3_Dense", n_in=3072, n_out=768)


def family(**changes: Any) -> EmbeddingGemma:
    config = {
        "architectures": ["Gemma3TextModel"],
        "hidden_size": 768,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "use_bidirectional_attention": True,
    }
    found = architecture_of(config | changes)
    assert isinstance(found, EmbeddingGemma)
    return found


def test_layers_are_keys_and_tensors() -> None:
    plain = family()
    assert not [rule for rule in plain.tensor_rules() if rule.name.startswith("dense")]
    both = plain.with_dense((WIDE, BACK))
    keys = {key.split(".")[-1]: value.data for key, value in both.metadata().items() if "dense" in key}
    assert keys == {
        "dense_2_feat_in": 768,
        "dense_2_feat_out": 3072,
        "dense_3_feat_in": 3072,
        "dense_3_feat_out": 768,
    }
    dense = {rule.name: rule for rule in both.tensor_rules() if rule.name.startswith("dense")}
    assert dense["dense_2.weight"].sources == ("2_Dense.linear.weight",)
    assert dense["dense_3.weight"].shape == (768, 3072)
    assert both.tensor_name("2_Dense.linear.weight") == "2_Dense.linear.weight"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((WIDE, BACK, WIDE), "computes two"),
        ((dataclasses.replace(WIDE, has_bias=True), BACK), "a bias or the activation"),
        ((WIDE, dataclasses.replace(BACK, activation="torch.nn.modules.activation.Tanh")), "Tanh"),
        ((WIDE, dataclasses.replace(BACK, n_in=768)), "3072 numbers come to it"),
        ((WIDE,), "out_features 3072"),
    ],
)
def test_layers_that_llama_cpp_does_not_compute(layers: tuple[DenseLayer, ...], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        family().with_dense(layers)


def test_a_model_that_only_looks_back_is_refused() -> None:
    with pytest.raises(CheckpointError, match="looks ahead, too"):
        family(use_bidirectional_attention=False)


def test_without_modules_json(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"lacks modules\.json.*2_Dense"):
        family().folder_metadata(tmp_path)


def lfm2(name: str) -> Lfm2Embedder:
    kinds = ["conv", "full_attention"]
    found = architecture_of({"architectures": [name], "num_hidden_layers": 2, "layer_types": kinds})
    assert isinstance(found, Lfm2Embedder)
    return found


def test_lfm2_has_one_layer_and_no_pooling_is_one(tmp_path: Path) -> None:
    layer = dataclasses.replace(WIDE, folder="1_Dense", n_in=2560, n_out=128)
    colbert = lfm2("Lfm2Model").with_dense((layer,))
    assert colbert.metadata()["lfm2.embedding_length_out"].data == 128
    assert colbert.tensor_rules()[-1].shape == (128, 2560)
    with pytest.raises(CheckpointError, match="computes one"):
        colbert.with_dense((layer, layer))
    with pytest.raises(CheckpointError, match=r"lacks modules\.json"):
        colbert.folder_metadata(tmp_path)
    write_json(tmp_path / "modules.json", [])
    assert colbert.folder_metadata(tmp_path)["lfm2.pooling_type"].data == 0
    assert "lfm2.attention.causal" not in colbert.metadata()
    assert lfm2("Lfm2BidirectionalModel").metadata()["lfm2.attention.causal"].data is False
