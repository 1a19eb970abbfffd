"""GLM-4.5 and its kin: layers that predict further tokens, M-RoPE, routing that has to be said."""

from __future__ import annotations

import pytest

from models.errors import CheckpointError
from tests.quantize.architectures.base.test_decoder import CONFIG, keys_of, of, rules_of

MOE = {"n_routed_experts": 4, "moe_intermediate_size": 32, "num_nextn_predict_layers": 1}
SEEING = {"num_key_value_heads": 2, "rope_parameters": {"partial_rotary_factor": 0.5}}


def test_the_further_layer_is_the_last_block_and_may_be_missing() -> None:
    keys, rules = keys_of("Glm4MoeForCausalLM", **MOE), rules_of("Glm4MoeForCausalLM", **MOE)
    assert (keys["glm4moe.block_count"], keys["glm4moe.nextn_predict_layers"]) == (3, 1)
    assert not rules["blk.1.attn_q.weight"].optional
    assert rules["blk.2.attn_q.weight"].optional
    assert rules["blk.2.nextn.eh_proj.weight"].shape == (64, 128)
    none = keys_of("Glm4MoeForCausalLM", **MOE | {"num_nextn_predict_layers": 0})
    assert none["glm4moe.block_count"] == 2
    assert "glm4moe.nextn_predict_layers" not in keys_of("Glm4vMoeForConditionalGeneration")


def test_experts_that_are_null() -> None:
    for name in ("n_routed_experts", "n_shared_experts"):
        with pytest.raises(CheckpointError, match=name):
            of("Glm4MoeForCausalLM", **MOE | {name: None})


def test_the_rotated_part_of_a_head() -> None:
    assert keys_of("Glm4MoeForCausalLM", **MOE)["glm4moe.rope.dimension_count"] == 8
    assert keys_of("SolarOpenForCausalLM", head_dim=16)["glm4moe.rope.dimension_count"] == 16


def test_queries_of_one_that_sees_are_put_in_halves() -> None:
    model = of("Glm4vForConditionalGeneration", text_config=CONFIG | SEEING)
    rules = {rule.name: rule.transform for rule in model.tensor_rules()}
    assert rules["blk.0.attn_q.weight"] == rules["blk.0.attn_k.bias"] != rules["blk.0.attn_v.weight"]
    assert (rules["blk.0.attn_q.weight"].head_dim, rules["blk.0.attn_q.weight"].rotated) == (16, 8)
    assert model.tensor_name("model.language_model.norm.weight") == "model.norm.weight"
    assert model.tensor_name("model.visual.x") is None
