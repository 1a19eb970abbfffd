"""EXAONE: windows that llama.cpp has by the number of layers, names of older files, further layers."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from tests.quantize.architectures.base.test_decoder import keys_of, of, rules_of

PATTERN = "exaone4.attention.sliding_window_pattern"
MOE = {"num_experts": 4, "num_nextn_predict_layers": 1, "sliding_window": 8}


def test_windows_of_the_large_model() -> None:
    for said in ({"sliding_window_pattern": "LLLG"}, {"sliding_window_pattern": 4}, {}):
        keys = keys_of("Exaone4ForCausalLM", num_hidden_layers=64, **said)
        assert keys["exaone4.attention.sliding_window"] == 4096
        assert keys[PATTERN] == (True, True, True, False) * 16
    assert PATTERN not in keys_of("Exaone4ForCausalLM", sliding_window=None)


def test_the_further_layer_is_the_last_block() -> None:
    model = of("Exaone4_5_ForConditionalGeneration", sliding_window=None, num_nextn_predict_layers=1)
    assert model.tensor_name("mtp.layers.0.mlp.up_proj.weight") == "model.layers.2.mlp.up_proj.weight"
    rules = {rule.name: rule for rule in model.tensor_rules()}
    assert rules["blk.2.nextn.eh_proj.weight"].sources == ("mtp.fc.weight",)
    assert rules["blk.2.attn_q.weight"].optional
    assert not rules["blk.1.attn_q.weight"].optional
    without = of("Exaone4_5_ForConditionalGeneration", sliding_window=None)
    assert without.tensor_name("mtp.layers.0.mlp.up_proj.weight") is None


def test_experts_follow_dense_layers() -> None:
    rules = rules_of("ExaoneMoEForCausalLM", **MOE, mlp_layer_types=["dense", "sparse"])
    assert "blk.0.ffn_up.weight" in rules
    assert "blk.1.ffn_up_exps.weight" in rules
    assert "blk.2.ffn_up.weight" in rules
    assert keys_of("ExaoneMoeForCausalLM", **MOE)["exaone-moe.expert_gating_func"] == 2


def test_names_of_exaone_3() -> None:
    model = of("ExaoneForCausalLM", num_layers=3)
    assert model.hyperparameters.n_layer == 3
    name = "transformer.h.1.attn.attention.out_proj.weight"
    assert model.tensor_name(name) == "model.layers.1.self_attn.o_proj.weight"


@pytest.mark.parametrize(
    ("name", "changes", "fact"),
    [
        ("Exaone4ForCausalLM", {}, "windows in models of 64 layers only"),
        ("Exaone4ForCausalLM", {"num_hidden_layers": 64, "layer_types": ["full_attention"]}, "has 1 entries"),
        ("ExaoneMoeForCausalLM", {"sliding_window": None}, "needs one"),
        ("ExaoneMoeForCausalLM", {"mlp_layer_types": ["sparse", "dense"]}, "mlp_layer_types"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(name: str, changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of(name, **changes).metadata()
