"""Command-R: its two context lengths, norms of heads only where llama.cpp has them; Cohere 2's window."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from tests.quantize.architectures.base.test_decoder import keys_of, of, rules_of


def test_the_context_it_was_trained_on() -> None:
    assert keys_of("CohereForCausalLM")["command-r.context_length"] == 8192
    assert keys_of("CohereForCausalLM", model_max_length=131072)["command-r.context_length"] == 131072


def test_norms_of_heads_from_64_layers_on() -> None:
    rules = rules_of("CohereForCausalLM", num_hidden_layers=64, use_qk_norm=True)
    assert rules["blk.63.attn_q_norm.weight"].shape == (4, 16)
    assert rules["blk.63.attn_k_norm.weight"].shape == (2, 16)
    assert "blk.0.attn_q_norm.weight" not in rules_of("CohereForCausalLM")


@pytest.mark.parametrize(
    ("architecture", "changes", "fact"),
    [
        ("CohereForCausalLM", {"use_qk_norm": True}, "from 64 layers on"),
        ("CohereForCausalLM", {"num_hidden_layers": 64}, "from 64 layers on"),
        ("CohereForCausalLM", {"attention_bias": True}, "no place"),
        ("CohereForCausalLM", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "doesn't scale"),
        ("Cohere2ForCausalLM", {"use_qk_norm": True}, "no such norms"),
        ("Cohere2MoeForCausalLM", {"attention_bias": True}, "computes neither"),
        (
            "Cohere2MoeForCausalLM",
            {"num_shared_experts": 1, "shared_expert_combination_strategy": "sum"},
            "computes the average",
        ),
        (
            "Cohere2MoeForCausalLM",
            {"first_k_dense_replace": 2, "prefix_dense_sliding_window_pattern": 2},
            "rotates all dense layers' heads",
        ),
    ],
)
def test_what_llama_cpp_cannot_compute(architecture: str, changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of(architecture, **changes)


def test_experts_are_chosen_by_functions_that_llama_cpp_has() -> None:
    with pytest.raises(CheckpointError, match="scoring_func 'max'"):
        keys_of("Cohere2MoeForCausalLM", expert_selection_fn="max")


def test_other_windows_than_three_of_four_are_said() -> None:
    pattern = "cohere2.attention.sliding_window_pattern"
    assert pattern not in keys_of("Cohere2ForCausalLM", num_hidden_layers=4)
    other = keys_of("Cohere2ForCausalLM", num_hidden_layers=4, sliding_window_pattern=2)
    assert other[pattern] == (True, False, True, False)


def test_dense_layers_have_a_pattern_of_their_own() -> None:
    keys = keys_of("Cohere2MoeForCausalLM", num_hidden_layers=6, first_k_dense_replace=1)
    assert keys["cohere2moe.attention.sliding_window_pattern"] == (False, True, True, True, False, True)
    assert keys["cohere2moe.leading_dense_block_count"] == 1
    assert keys["cohere2moe.expert_gating_func"] == 1
    listed = keys_of(
        "Cohere2MoeForCausalLM", layer_types=["full_attention", "sliding_attention"], num_hidden_layers=2
    )
    assert listed["cohere2moe.attention.sliding_window_pattern"] == (False, True)
