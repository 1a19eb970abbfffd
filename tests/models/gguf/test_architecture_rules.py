"""Each rule refuses what it is for, and no header that is right."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from models.gguf.architecture_rules import architecture_faults
from models.gguf.hyperparameters import Hyperparameters
from models.gguf.reader import GGUFArray, GGUFTensor

HALF_ATTENDING = GGUFArray("i32", 2, struct.pack("<2i", 0, 1))
LATENT: dict[str, Any] = {
    "architecture": "deepseek2",
    "attention__head_count_kv": 1,
    "attention__kv_lora_rank": 16,
    "attention__key_length": 24,
    "attention__value_length": 16,
    "attention__key_length_mla": 32,
    "rope__dimension_count": 8,
}
INDEXED = {
    **LATENT,
    "architecture": "deepseek32",
    "attention__value_length_mla": 16,
    "attention__indexer__key_length": 128,
    "attention__indexer__head_count": 4,
    "attention__indexer__top_k": 16,
}
CYCLES: dict[str, Any] = {
    "architecture": "hrm_text",
    "block_count": 6,
    "hrm__layers_per_stack": 1,
    "hrm__h_cycles": 2,
    "hrm__l_cycles": 2,
}
STATES: dict[str, Any] = {
    "architecture": "granitehybrid",
    "attention__head_count_kv": GGUFArray("i32", 2, struct.pack("<2i", 0, 2)),
    "ssm__inner_size": 128,
    "ssm__time_step_rank": 8,
    "ssm__group_count": 2,
}
HEADER: dict[str, Any] = {
    "block_count": 2,
    "embedding_length": 64,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
}


def faults(architecture: str = "llama", rows: dict[str, int] | None = None, **changes: Any) -> list[str]:
    values = {**HEADER, **{key.replace("__", "."): value for key, value in changes.items()}}
    metadata = {f"{architecture}.{key}": value for key, value in values.items() if value is not None}
    shapes = {"blk.1.attn_q.weight": 64, "blk.1.attn_k.weight": 32, "blk.1.attn_v.weight": 32} | (rows or {})
    tensors = [GGUFTensor(name, (64, n), "F16", 0, 0) for name, n in shapes.items()]
    return list(architecture_faults(Hyperparameters(metadata, architecture), tensors))


TWO_KINDS: dict[str, Any] = {
    "architecture": "gemma4",
    "block_count": 4,
    "attention__key_length": 32,
    "attention__value_length": 32,
    "attention__key_length_swa": 16,
    "attention__value_length_swa": 16,
    "rope__dimension_count_swa": 16,
    "attention__shared_kv_layers": 2,
    "attention__sliding_window_pattern": GGUFArray("bool", 4, bytes([1, 0, 1, 0])),
}


def test_heads_of_two_sizes_and_shared_caches() -> None:
    assert faults(**TWO_KINDS) == []
    for change, fault in (
        ({"attention__key_length": 31}, "attention.key_length is 31"),
        ({"attention__value_length_swa": 8}, "of values 8"),
        ({"rope__dimension_count_swa": 32}, "rope.dimension_count_swa is 32"),
        ({"rope__dimension_count_swa": None}, "rope.dimension_count_swa is 32"),
        ({"attention__shared_kv_layers": 3}, "leaves 1 layers"),
        ({"attention__shared_kv_layers": 1}, "layers 1 and 2 of another kind than layer 3"),
    ):
        assert any(fault in found for found in faults(**TWO_KINDS | change)), fault
    assert faults("gemma3n", {}, block_count=30) == []
    period = faults("gemma3n", {}, block_count=30, attention__sliding_window_pattern=3)
    assert any("layers 18 and 19" in found for found in period)


def test_a_good_header_has_none() -> None:
    assert faults() == []
    assert faults("qwen3", attention__key_length=16, attention__value_length=16) == []
    assert faults("mamba", {}, attention__head_count=0) == []
    assert faults("gpt2", {"blk.0.attn_qkv.weight": 64 + 2 * 32}) == []
    assert faults("deepseek2", expert_count=4, expert_gating_func=0, rope__dimension_count=8) == []
    assert faults(**LATENT) == []
    assert faults(**INDEXED) == []
    assert faults(**CYCLES) == []
    assert faults("nanbeige", num_loops=256) == []
    assert faults(**STATES) == []
    assert faults("jina-bert-v2", {"blk.0.ffn_up.weight": 64}, feed_forward_length=32) == []


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        ("nextn_predict_layers is 2 of 2 layers", {"nextn_predict_layers": 2}),
        ("nextn_predict_layers is 7 of 2 layers", {"nextn_predict_layers": 7}),
        ("16 numbers for keys and 8 for values", {"attention__value_length": 8}),
        ("8 numbers for keys and 16 for values", {"architecture": "cohere2", "attention__key_length": 8}),
        ("rope.dimension_count is 8, and a head has 16", {"rope__dimension_count": 8}),
        ("rope.dimension_count is 0", {"architecture": "phi2", "rope__dimension_count": 0}),
        ("rope.dimension_count_swa is 0", {"architecture": "gemma3", "rope__dimension_count_swa": 0}),
        ("rope.dimension_count_swa is 7", {"architecture": "gemma3", "rope__dimension_count_swa": 7}),
        ("rope.dimension_count_swa is 32", {"architecture": "gemma3", "rope__dimension_count_swa": 32}),
        ("attention.key_length_swa is 1", {"architecture": "cohere2", "attention__key_length_swa": 1}),
        ("attention.value_length_swa is 8", {"architecture": "cohere2", "attention__value_length_swa": 8}),
        ("expert_gating_func is 9 (1 to 4)", {"expert_count": 4, "expert_gating_func": 9}),
        ("expert_gating_func is 0", {"expert_count": 4, "expert_gating_func": 0}),
        ("key_length and value_length are 25 and 16", {**LATENT, "attention__key_length": 25}),
        ("key_length and value_length are 24 and 8", {**LATENT, "attention__value_length": 8}),
        ("time_step_rank is 0, and", {**STATES, "ssm__time_step_rank": 0}),
        ("group_count is 3, and", {**STATES, "ssm__group_count": 3}),
        ("inner_size is 64 (twice the embedding's 64)", {**STATES, "ssm__inner_size": 64}),
        ("blk.1.attn_k.weight has 32 rows", {"architecture": "lfm2", "attention__head_count_kv": 1}),
        ("nothing of a head is left", {**LATENT, "attention__key_length_mla": 8}),
        ("dimension_count is 0 (even", {**LATENT, "rope__dimension_count": 0}),
        ("indexer.key_length is 96 (a power", {**INDEXED, "attention__indexer__key_length": 96}),
        ("indexer.block_size is 0", {"architecture": "minimax-m3"}),
        ("head_count_kv must be 1", {**INDEXED, "attention__head_count_kv": 2}),
        ("indexer.top_k is 0", {**INDEXED, "attention__indexer__top_k": 0}),
        ("num_loops is 0", {"architecture": "nanbeige", "num_loops": 0}),
        ("num_loops is 257", {"architecture": "nanbeige", "num_loops": 257}),
        ("hrm.l_cycles is 0", {**CYCLES, "hrm__l_cycles": 0}),
        ("block_count isn't 8", {**CYCLES, "hrm__l_cycles": 3}),
        (
            "ffn_up.weight has 64 rows",
            {"architecture": "jina-bert-v2", "rows": {"blk.0.ffn_up.weight": 64}, "feed_forward_length": 31},
        ),
        ("head_count is 0 in layer 1", {"architecture": "olmo2", "attention__head_count": 0}),
        ("head_count is 0 in layer 1", {"attention__head_count": None, "attention__head_count_kv": None}),
        ("blk.1.attn_q.weight has 64 rows", {"architecture": "gemma", "attention__key_length": 8}),
        ("blk.1.attn_k.weight has 32 rows", {"attention__head_count_kv": 1}),
        ("blk.1.attn_v.weight has 16 rows", {"rows": {"blk.1.attn_v.weight": 16}}),
        ("attn_qkv.weight has 192 rows", {"architecture": "gpt2", "rows": {"blk.0.attn_qkv.weight": 192}}),
    ],
)
def test_what_llama_cpp_asserts_is_refused(fault: str, changes: dict[str, Any]) -> None:
    assert any(fault in found for found in faults(**changes))


DELTA_NET: dict[str, Any] = {
    "architecture": "qwen35",
    "block_count": 4,
    "attention__key_length": 16,
    "attention__value_length": 16,
    "rope__dimension_count": 4,
    "full_attention_interval": 4,
    "ssm__conv_kernel": 4,
    "ssm__state_size": 8,
    "ssm__group_count": 2,
    "ssm__time_step_rank": 4,
    "ssm__inner_size": 32,
}


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        ("of 1, 8, 2 and 4 (", {"ssm__conv_kernel": 1}),
        ("of 4, 8, 2 and 0 (", {"ssm__time_step_rank": 0}),
        ("inner_size is 33", {"ssm__inner_size": 33}),
        ("inner_size is 32, with 4 value heads", {"ssm__group_count": 3}),
        ("dimension_count is 3 (even", {"rope__dimension_count": 3}),
        ("full_attention_interval is 0", {"full_attention_interval": 0}),
    ],
)
def test_sizes_of_linear_attention(fault: str, changes: dict[str, Any]) -> None:
    assert faults(**DELTA_NET) == []
    assert any(fault in found for found in faults(**DELTA_NET | changes))
    assert (
        faults(**LATENT | {"architecture": "kimi-linear", "attention__head_count_kv": HALF_ATTENDING}) == []
    )
    assert faults("muse-glimmer", {"blk.1.attn_v.weight": 16}) != []


@pytest.mark.parametrize("name", ["token_embd.weight", "output.weight"])
def test_chameleons_vocabulary_has_the_tokens_of_images(name: str) -> None:
    assert faults("chameleon", {name: 8196}) == []
    assert faults("chameleon", {name: 8195}) == [f"{name} has 8195 rows (from 8196 on)"]


@pytest.mark.parametrize("architecture", ["qwen2vl", "glm4", "qwen35"])
@pytest.mark.parametrize(
    ("sections", "is_right"),
    [
        (GGUFArray("i32", 4, struct.pack("<4i", 2, 3, 3, 0)), True),
        (GGUFArray("i32", 4, struct.pack("<4i", 8, 8, 8, 8)), False),
        (GGUFArray("i32", 4, struct.pack("<4i", 0, 0, 0, 4)), False),
        (GGUFArray("i32", 4, struct.pack("<4i", 8, -1, 3, 0)), False),
        (2, True),
        (255, False),
    ],
)
def test_the_sections_of_a_head_fit_it(architecture: str, sections: Any, is_right: bool) -> None:
    found = [
        fault for fault in faults(architecture, rope__dimension_sections=sections) if "sections" in fault
    ]
    assert (found == []) == is_right, found


LAST_WINDOW = GGUFArray("bool", 2, bytes([0, 1]))
NO_WINDOW = GGUFArray("bool", 2, bytes(2))
EXPERTS: dict[str, Any] = {"expert_count": 4, "expert_used_count": 2, "leading_dense_block_count": 1}
DELTA: dict[str, Any] = {
    **LATENT,
    "architecture": "bailingmoe3",
    "kda__gate_lower_bound": -5.0,
    "attention__head_count_kv": HALF_ATTENDING,
}
CONVOLUTION: dict[str, Any] = {
    "architecture": "lfm2",
    "shortconv__l_cache": 3,
    "attention__head_count_kv": GGUFArray("i32", 2, struct.pack("<2i", 0, 2)),
}
NOTE: dict[str, Any] = {
    **INDEXED,
    "architecture": "dots3note",
    "attention__sliding_window_pattern": LAST_WINDOW,
    "attention__indexer__types": GGUFArray("bool", 2, bytes([1, 0])),
}
INDEXERS = GGUFArray("u32", 2, struct.pack("<2I", 1, 0))
NO_FIRST_INDEXER = GGUFArray("u32", 2, struct.pack("<2I", 0, 1))


@pytest.mark.parametrize(
    ("good", "fault", "changes"),
    [
        (
            {"architecture": "afmoe", "attention__sliding_window": 8},
            "window is 0",
            {"attention__sliding_window": 0},
        ),
        (
            {"architecture": "grovemoe", "experts_per_group": 2, **EXPERTS},
            "group is 0",
            {"experts_per_group": 0},
        ),
        (
            {"architecture": "ernie4_5-moe", "interleave_moe_layer_step": 1},
            "interleave_moe_layer_step is 0",
            {"interleave_moe_layer_step": 0},
        ),
        (
            {"architecture": "dots1", **EXPERTS, "expert_gating_func": 2},
            "expert_gating_func is None",
            {"expert_gating_func": None},
        ),
        ({"architecture": "bailingmoe2", **EXPERTS}, "expert_count is None", {"expert_count": None}),
        ({"architecture": "glm4moe", **EXPERTS}, "expert_count is 0", {"expert_count": 0}),
        ({**CONVOLUTION, "architecture": "lfm2moe", **EXPERTS}, "expert_count is 0", {"expert_count": 0}),
        (
            {**CONVOLUTION, "architecture": "lfm2moe", "leading_dense_block_count": 2},
            "expert_count is None",
            {"leading_dense_block_count": 1},
        ),
        (CONVOLUTION, "shortconv.l_cache is 1", {"shortconv__l_cache": 1}),
        (
            CONVOLUTION,
            "16 numbers for keys and 8 for values",
            {"attention__value_length": 8, "rows": {"blk.1.attn_v.weight": 16}},
        ),
        (DELTA, "lower_bound is 0.0", {"kda__gate_lower_bound": 0.0}),
        (DELTA, "lower_bound is nan", {"kda__gate_lower_bound": float("nan")}),
        (DELTA, "safe_gate is false", {"kda__safe_gate": False}),
        (
            {**LATENT, "attention__temperature_scale": 0.1, "attention__temperature_length": 8192},
            "temperature_length is 0",
            {"attention__temperature_length": None},
        ),
        (INDEXED, "value_length_mla is 0", {"attention__value_length_mla": None}),
        (INDEXED, "key_length_mla is 0", {"attention__key_length_mla": None}),
        (
            {
                **INDEXED,
                "architecture": "glm-dsa",
                "attention__indexer__types": INDEXERS,
                "rows": {f"blk.0.indexer.{part}.weight": 64 for part in ("attn_q_b", "attn_k", "proj")},
            },
            "no indexer in layer 0",
            {"attention__indexer__types": NO_FIRST_INDEXER},
        ),
        (NOTE, "no indexer in layer 0", {"attention__indexer__types": NO_FIRST_INDEXER}),
        (NOTE, "no indexer in layer 1", {"attention__sliding_window_pattern": NO_WINDOW}),
        (
            {
                "architecture": "gemma-embedding",
                "attention__sliding_window_pattern": 2,
                "dense_2_feat_in": 64,
                "dense_3_feat_out": 0,
            },
            "dense_2_feat_in is 65",
            {"dense_2_feat_in": 65},
        ),
        (
            {"architecture": "laguna", "rows": {"blk.1.attn_gate.weight": 4}},
            "attn_gate.weight has 5 rows",
            {"rows": {"blk.1.attn_gate.weight": 5}},
        ),
        (
            {"architecture": "laguna", "rows": {"blk.1.attn_gate.weight": 64}},
            "attn_gate.weight has 32 rows",
            {"rows": {"blk.1.attn_gate.weight": 32}},
        ),
    ],
)
def test_single_keys_of_an_architecture(good: dict[str, Any], fault: str, changes: dict[str, Any]) -> None:
    assert faults(**good) == []
    assert any(fault in found for found in faults(**good | changes))


def test_layers_that_predict_further_are_in_no_cycle() -> None:
    assert faults(**CYCLES) == []
    (fault,) = faults(**CYCLES, nextn_predict_layers=1)
    assert "in no cycle" in fault
