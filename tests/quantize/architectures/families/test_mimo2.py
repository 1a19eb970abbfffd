"""MiMo V2: both spellings of its layers, and what llama.cpp doesn't compute."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.families.mimo2 import Mimo2
from quantize.architectures.registry import architecture_of


def family(**changes: Any) -> Mimo2:
    found = architecture_of({"architectures": ["MiMoV2FlashForCausalLM"], "num_hidden_layers": 3} | changes)
    assert isinstance(found, Mimo2)
    return found


def test_layers_by_the_makers_fields_by_transformers_and_by_default() -> None:
    makers = family(hybrid_layer_pattern=[1, 0, 1], moe_layer_freq=[0, 0, 1])
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    usual = family(layer_types=kinds, mlp_layer_types=["dense", "dense", "sparse"])
    for found in (makers, usual):
        assert found.slides == (True, False, True)
        assert found.is_sparse == (False, False, True)
        assert found.metadata()["mimo2.attention.head_count_kv"].data == (8, 4, 8)
    assert family().slides == (False, True, True)
    assert family().is_sparse == (False, True, True)


def test_the_window_has_the_token_itself() -> None:
    assert family(sliding_window=128).window == 128
    assert family(sliding_window=128, sliding_window_size=128).window == 129


def test_layers_that_predict_further_tokens_are_left_out() -> None:
    assert family().tensor_name("model.mtp.layers.0.eh_proj.weight") is None
    assert family().tensor_name("model.layers.1.self_attn.attention_sink_bias") is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"swa_head_dim": 128}, "swa_head_dim 128 and head_dim 192"),
        ({"swa_num_key_value_heads": 7}, "must be a multiple"),
        ({"attention_bias": True}, "has neither"),
        ({"n_shared_experts": 1}, "has neither"),
        ({"scoring_func": "softmax"}, "by the sigmoid"),
        ({"norm_topk_prob": False}, "by the sigmoid"),
        ({"routed_scaling_factor": 2.5}, "reads none"),
        ({"topk_method": "greedy"}, "noaux_tc"),
        ({"hybrid_layer_pattern": [0, 2, 1]}, "each 0 or 1"),
        ({"moe_layer_freq": [0, 1]}, "must be 3 numbers"),
        ({"mlp_layer_types": ["dense"]}, "must be 3 of dense and sparse"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "scales the rotation"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "scales the rotation"),
        ({"partial_rotary_factor": 0.33}, "must be even"),
    ],
)
def test_what_llama_cpp_does_not_compute(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        family(**changes)


def test_a_fused_matrix_is_refused() -> None:
    with pytest.raises(CheckpointError, match="MiMo V2 Flash"):
        family().with_tensors(["model.layers.0.self_attn.qkv_proj.weight"])
