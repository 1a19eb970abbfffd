"""Hunyuan: the stretched rotation, numbers that are given for each layer, what llama.cpp can't do."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from tests.quantize.architectures.base.test_decoder import keys_of, of, rules_of

STRETCHED = {"type": "dynamic", "alpha": 1000.0, "factor": 1.0}
EXPERTS = {"num_experts": 4, "moe_topk": [2, 2], "moe_intermediate_size": [96, 96]}


def test_alpha_stretches_the_base_and_the_context() -> None:
    keys = keys_of("HunYuanDenseV1ForCausalLM", rope_scaling=STRETCHED)
    assert keys["hunyuan-dense.rope.freq_base"] == pytest.approx(10000 * 1000 ** (16 / 14))
    assert keys["hunyuan-dense.context_length"] == 262144
    plain = keys_of("HunYuanDenseV1ForCausalLM", rope_scaling={"type": "dynamic", "factor": 2.0})
    assert plain["hunyuan-dense.rope.freq_base"] == 10000
    assert "hunyuan-dense.rope.scaling.type" not in plain


def test_one_that_sees_leaves_the_stretching_to_llama_cpp() -> None:
    older = {**STRETCHED, "type": "xdrope", "xdrope_section": [2, 2, 2, 2]}
    keys = keys_of("HunYuanVLForConditionalGeneration", rope_scaling=older, attention_head_dim=16)
    assert keys["hunyuan_vl.rope.scaling.alpha"] == 1000
    assert keys["hunyuan_vl.rope.freq_base"] == 10000
    assert "hunyuan_vl.rope.dimension_sections" not in keys
    assert of("HunYuanVLForConditionalGeneration").tensor_name("vit.layers.0.x") is None


def test_numbers_of_each_layer() -> None:
    keys = keys_of("HunYuanMoEV1ForCausalLM", **EXPERTS)
    assert keys["hunyuan-moe.expert_used_count"] == 2
    assert keys_of("HunYuanMoEV1ForCausalLM", num_experts=4, moe_topk=3)["hunyuan-moe.expert_used_count"] == 3


def test_layers_of_hy3_without_experts() -> None:
    kinds = ["sparse", "dense"]
    rules = rules_of("HYV3ForCausalLM", mlp_layer_types=kinds, num_nextn_predict_layers=1)
    assert "blk.0.exp_probs_b" in rules
    assert "blk.1.exp_probs_b" not in rules
    assert rules["blk.2.exp_probs_b"].optional


@pytest.mark.parametrize(
    ("name", "changes", "fact"),
    [
        ("HunYuanMoEV1ForCausalLM", {"moe_topk": [2, 3]}, "one number for all layers"),
        ("HunYuanMoEV1ForCausalLM", {"moe_intermediate_size": [64, 64]}, "experts of one size"),
        ("HunYuanMoEV1ForCausalLM", {"num_shared_expert": [2, 2]}, "num_shared_expert than 1"),
        ("HunYuanDenseV1ForCausalLM", {"attention_bias": True}, "attention_bias"),
        ("HYV3ForCausalLM", {"mlp_bias": True}, "mlp_bias"),
        ("HYV3ForCausalLM", {"mlp_layer_types": ["dense"]}, "mlp_layer_types"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(name: str, changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of(name, **{**EXPERTS, **changes})
