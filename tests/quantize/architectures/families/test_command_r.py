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
    ],
)
def test_what_llama_cpp_cannot_compute(architecture: str, changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of(architecture, **changes)


def test_other_windows_than_three_of_four_are_said() -> None:
    pattern = "cohere2.attention.sliding_window_pattern"
    assert pattern not in keys_of("Cohere2ForCausalLM", num_hidden_layers=4)
    other = keys_of("Cohere2ForCausalLM", num_hidden_layers=4, sliding_window_pattern=2)
    assert other[pattern] == (True, False, True, False)
