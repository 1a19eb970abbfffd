"""Gemma 3n and 4: sizes in either spelling, divisors of frequencies, and what llama.cpp has hard-wired."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from tests.quantize.architectures.base.test_decoder import keys_of, of, rules_of

KINDS = ["sliding_attention", "full_attention"] * 2
GEMMA4: dict[str, Any] = {
    "num_hidden_layers": 4,
    "head_dim": 16,
    "hidden_size_per_layer_input": 0,
    "layer_types": KINDS,
}
FULL = {"full_attention": {"rope_type": "default"}}
GEMMA3N: dict[str, Any] = {"num_hidden_layers": 25, "num_kv_shared_layers": 5, "head_dim": 16}


def test_the_sizes_of_layers_without_a_window() -> None:
    older = {"global_head_dim": 32, "num_global_key_value_heads": 1, "attention_k_eq_v": True}
    layer = {"head_dim": 32, "num_key_value_heads": 1}
    newer = {"per_layer_config": {"1": layer, "3": layer}, "attention_k_eq_v": True}
    for fields in (older, newer):
        keys = keys_of("Gemma4ForCausalLM", **GEMMA4, **fields)
        assert keys["gemma4.attention.key_length"] == 32
        assert keys["gemma4.attention.key_length_swa"] == 16
        assert keys["gemma4.attention.head_count_kv"] == [2, 1, 2, 1]
        rules = rules_of("Gemma4ForCausalLM", **GEMMA4, **fields)
        assert rules["blk.0.attn_k.weight"].shape == (32, 64)
        assert rules["blk.1.attn_k.weight"].shape == (32, 64)
        assert "blk.1.attn_v.weight" not in rules
    ungated = keys_of("Gemma4ForCausalLM", **GEMMA4, num_global_key_value_heads=1)
    assert ungated["gemma4.attention.head_count_kv"] == 2


def test_a_head_is_rotated_in_part() -> None:
    def divisors(**full: Any) -> tuple[float, ...]:
        fields = {"rope_parameters": {"full_attention": full}} if full else {}
        model = of("Gemma4ForCausalLM", **GEMMA4, global_head_dim=16, **fields)
        found: tuple[float, ...] = model.frequency_divisors
        return found

    assert divisors() == (1.0, 1.0, *[1e30] * 6)
    assert divisors(rope_type="default") == (1.0,) * 8
    half = divisors(rope_type="proportional", rope_theta=5.0, partial_rotary_factor=0.5, factor=2.0)
    assert half == (*[2.0] * 4, *[1e30] * 4)


def test_the_parts_that_see_or_hear_are_left_out() -> None:
    model = of("Gemma4ForConditionalGeneration", hidden_size=None, text_config={**GEMMA4, "hidden_size": 64})
    for name in ("vision_tower.x", "audio_tower.x", "embed_vision.x", "vision_embedder.x"):
        assert model.tensor_name(f"model.{name}") is None
    assert model.tensor_name("model.language_model.norm.weight") == "model.norm.weight"


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"attention_bias": True}, "attention_bias"),
        ({"use_bidirectional_attention": "all"}, "use_bidirectional_attention"),
        ({"num_kv_shared_layers": 1}, "num_kv_shared_layers"),
        ({"hidden_size_per_layer_input": 8}, "vocab_size_per_layer_input"),
        ({"per_layer_config": {"1": {"head_dim": 32}, "3": {"head_dim": 64}}}, "per_layer_config"),
        ({"per_layer_config": {"0": {"head_dim": 32}}}, "per_layer_config"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_types yarn"),
        ({"rope_parameters": FULL | {"sliding_attention": {"rope_type": "linear"}}}, "and linear"),
        ({"rope_parameters": {"rope_theta": 5.0}}, "rotary settings"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rotary settings"),
    ],
)
def test_what_gemma4_cannot_compute_is_refused(changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of("Gemma4ForCausalLM", **GEMMA4 | changes)


def test_gemma3ns_feed_forwards_have_one_size() -> None:
    listed = rules_of("Gemma3nForCausalLM", **GEMMA3N, intermediate_size=[96] * 25)
    assert listed["blk.0.ffn_up.weight"].shape == (96, 64)
    assert listed["per_layer_token_embd.weight"].shape == (100, 25 * 256)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"altup_num_inputs": 2}, "altup_num_inputs"),
        ({"laurel_rank": 32}, "laurel_rank"),
        ({"altup_correct_scale": False}, "altup_correct_scale"),
        ({"num_kv_shared_layers": 6}, "first 20"),
        ({"activation_sparsity_pattern": [0.5] * 25}, "activation_sparsity_pattern"),
        ({"intermediate_size": [96] * 24 + [48]}, "intermediate_size"),
        ({"layer_types": ["sliding_attention"] * 24 + ["full_attention"]}, "layers 18 and 19"),
        ({"final_logit_softcapping": 0}, "final_logit_softcapping"),
    ],
)
def test_what_gemma3n_cannot_compute_is_refused(changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        keys_of("Gemma3nForCausalLM", **GEMMA3N | changes)
