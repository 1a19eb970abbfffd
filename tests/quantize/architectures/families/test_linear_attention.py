"""Hybrids with linear attention: what is refused, and the layer that predicts further tokens."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.transform import Runs
from quantize.architectures.registry import architecture_of

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
NET = "Qwen3_5ForCausalLM"
KIMI = "KimiLinearForCausalLM"
LING = "BailingMoeV3ForCausalLM"
MINIMAX = "MiniMaxM1ForCausalLM"
MUSE = "MuseGlimmerForConditionalGeneration"
HALF = {"attn_type_list": [0, 1, 0, 1]}


def family(name: str, **changes: Any) -> Architecture:
    return architecture_of({"architectures": [name], **SIZES, **changes})


@pytest.mark.parametrize(
    ("fact", "name", "changes"),
    [
        ("another size than its key heads", NET, {"linear_value_head_dim": 64}),
        ("no multiple of them", NET, {"linear_num_value_heads": 24}),
        ("layer_types in config.json has 1", NET, {"layer_types": ["linear_attention"]}),
        ("each linear_attention or full_attention", NET, {"layer_types": ["sliding_attention"] * 4}),
        ("another norm_topk_prob than true", "Qwen3NextForCausalLM", {"norm_topk_prob": False}),
        ("layers without experts", "Qwen3NextForCausalLM", {"mlp_only_layers": [1]}),
        ("another number of heads", KIMI, {"linear_num_heads": 8}),
        ("has a q_lora_rank", KIMI, {"linear_num_heads": 4, "q_lora_rank": 32}),
        ("attends without positions", KIMI, {"linear_num_heads": 4, "mla_use_nope": False}),
        ("moe_renormalize", KIMI, {"linear_num_heads": 4, "moe_renormalize": False}),
        ("must have 4 entries", KIMI, {"layer_types": ["full_attention"]}),
        (
            "in an order that llama.cpp",
            KIMI,
            {"linear_num_heads": 4, "mlp_layer_types": ["sparse", "dense"] * 2},
        ),
        ("no_kda_lora or kda_safe_gate", LING, {"kda_safe_gate": False}),
        ("other than head_wise", LING, {"gated_attention_proj_granularity_type": "element_wise"}),
        ("must have 4 entries, 0 for", MINIMAX, {"attn_type_list": [0, 1]}),
        ("postnorm false", MINIMAX, {**HALF, "postnorm": False}),
        ("always used", MINIMAX, {**HALF, "shared_intermediate_size": 64}),
        ("one weight for all", MINIMAX, {**HALF, "layernorm_mlp_alpha": 2.0}),
        ("rotates those, to one base", MUSE, {"layer_rope_theta": [0, 1e4, 1e4, 0]}),
        ("post_norm_eps other than", MUSE, {"post_norm_eps": 1e-5}),
    ],
)
def test_what_llama_cpp_does_not_compute(fact: str, name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=fact):
        family(name, **changes).metadata()


@pytest.mark.parametrize("prefix", ["mtp.", "model.mtp.", "model.language_model.mtp."])
def test_a_further_layer_is_kept_where_the_checkpoint_has_one(prefix: str) -> None:
    plain = family(NET, mtp_num_hidden_layers=1)
    further = plain.with_tensors([f"{prefix}fc.weight", f"{prefix}layers.0.mlp.up_proj.weight"])
    assert further.metadata()["qwen35.block_count"].data == 5
    assert further.metadata()["qwen35.nextn_predict_layers"].data == 1
    assert further.metadata()["qwen35.attention.recurrent_layers"].data == (True, True, True, False, False)
    assert further.tensor_name(f"{prefix}fc.weight") == "mtp.fc.weight"
    rules = {rule.name: rule for rule in further.tensor_rules()}
    assert rules["blk.4.nextn.eh_proj.weight"].shape == (64, 128)
    assert "blk.4.attn_q.weight" in rules


def test_none_is_looked_for_without_its_tensors() -> None:
    plain = family(NET, mtp_num_hidden_layers=1).with_tensors(["model.norm.weight"])
    assert plain.metadata()["qwen35.block_count"].data == 4
    assert "qwen35.nextn_predict_layers" not in plain.metadata()


def test_several_further_layers_are_left_out() -> None:
    """llama.cpp computes with one only."""
    names = ["mtp.fc.weight", "mtp.layers.0.mlp.up_proj.weight", "mtp.layers.1.mlp.up_proj.weight"]
    plain = family(NET).with_tensors(names)
    assert plain.metadata()["qwen35.block_count"].data == 4
    assert [plain.tensor_name(name) for name in names] == [None] * 3


def test_value_heads_are_in_the_order_of_repeated_key_heads() -> None:
    rules = {
        rule.name: rule
        for rule in family(NET, linear_num_key_heads=2, linear_num_value_heads=6).tensor_rules()
    }
    transform = rules["blk.0.ssm_dt.bias"].transform
    assert isinstance(transform, Runs)
    assert [first for first, _ in transform.runs] == [0, 3, 1, 4, 2, 5]


def test_layers_may_be_listed_or_counted() -> None:
    made = family(KIMI, linear_attn_config={"full_attn_layers": [2, 4], "num_heads": 4})
    assert made.metadata()["kimi-linear.attention.head_count_kv"].data == [0, 1, 0, 1]
    made = family(LING, layer_group_size=2, mrope_section=[2, 3, 3], expert_swiglu_limit_list=[None, 7.0])
    keys = made.metadata()
    assert keys["bailingmoe3.attention.head_count_kv"].data == [0, 1, 0, 1]
    assert keys["bailingmoe3.rope.dimension_sections"].data == [2, 3, 3, 0]
    assert keys["bailingmoe3.swiglu_clamp_exp"].data == [0.0, 7.0, 0.0, 0.0]
    made = family(MINIMAX, attn_type_list=[0, 0, 0, 1])
    assert made.metadata()["minimax-01.attention.recurrent_layers"].data == (True, True, True, False)


def test_towers_that_see_are_left_out() -> None:
    text = {"text_config": SIZES, "vision_config": {}}
    made = architecture_of({"architectures": ["MiniCPMV4_6ForConditionalGeneration"], **text})
    assert made.gguf_name == "qwen35"
    for name in ("model.vision_tower.encoder.layers.0.mlp.fc1.weight", "model.merger.mlp.0.linear_1.weight"):
        assert made.tensor_name(name) is None
    assert made.tensor_name("model.language_model.layers.3.mlp.up_proj.weight") == (
        "model.layers.3.mlp.up_proj.weight"
    )
