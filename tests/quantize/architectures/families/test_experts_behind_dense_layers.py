"""ERNIE 4.5, dots.llm1 and the first Qwen: each configuration that llama.cpp can't compute with."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from tests.quantize.architectures.base.test_decoder import keys_of, of, rules_of

DOTS = {"num_key_value_heads": 4, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2}


def test_experts_of_ernie() -> None:
    rules = rules_of("Ernie4_5_MoeForCausalLM")
    assert "blk.0.ffn_up.weight" in rules
    assert rules["blk.1.ffn_up_shexp.weight"].shape == (3072, 64)
    alone = rules_of("Ernie4_5_MoeForCausalLM", moe_num_shared_experts=0)
    assert "blk.1.ffn_up_shexp.weight" not in alone
    assert of("Ernie4_5_MoeForCausalLM").tensor_name("model.mtp_block.0.x") is None


def test_names_of_ernie() -> None:
    assert of("Ernie4_5_ForCausalLM").tensor_name("ernie.norm.weight") == "model.norm.weight"


def test_the_context_of_the_first_qwen() -> None:
    assert keys_of("QWenLMHeadModel", num_key_value_heads=4, seq_length=2048)["qwen.context_length"] == 2048


@pytest.mark.parametrize(
    ("name", "changes", "fact"),
    [
        ("Ernie4_5ForCausalLM", {"use_bias": True}, "use_bias"),
        ("Ernie4_5_MoeForCausalLM", {"moe_layer_interval": 2}, "moe_layer_interval"),
        ("Ernie4_5_MoeForCausalLM", {"moe_layer_end_index": 0}, "moe_layer_end_index"),
        ("Dots1ForCausalLM", {**DOTS, "num_key_value_heads": 2}, "as many of each"),
        ("Dots1ForCausalLM", {**DOTS, "max_window_layers": 1}, "attends to everything"),
        ("Dots1ForCausalLM", {**DOTS, "attention_bias": True}, "attention_bias"),
        ("QWenLMHeadModel", {"no_bias": False}, "no_bias"),
        ("QWenLMHeadModel", {"rotary_pct": 0.5}, "rotary_pct"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(name: str, changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of(name, **changes)
