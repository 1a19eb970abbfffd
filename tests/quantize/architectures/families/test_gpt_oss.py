"""gpt-oss: its rotary defaults, and what llama.cpp has hard-wired."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from tests.quantize.architectures.base.test_decoder import keys_of, of, rules_of

NAME = "GptOssForCausalLM"


def test_without_rotary_settings_they_are_yarns() -> None:
    silent: list[dict[str, Any]] = [{}, {"rope_scaling": None}, {"rope_scaling": {}, "rope_parameters": None}]
    for fields in silent:
        keys = keys_of(NAME, **fields)
        assert keys["gpt-oss.rope.scaling.factor"] == 32.0
        assert keys["gpt-oss.rope.scaling.original_context_length"] == 4096
    older = keys_of(NAME, rope_theta=5e4, rope_scaling={"rope_type": "linear", "factor": 2.0})
    assert older["gpt-oss.rope.freq_base"] == 5e4
    assert older["gpt-oss.rope.scaling.type"] == "linear"


def test_experts_in_blocks_come_before_whole_ones() -> None:
    rule = rules_of(NAME)["blk.0.ffn_up_exps.weight"]
    experts = "model.layers.0.mlp.experts"
    assert [form.sources for form in rule.forms] == [
        (f"{experts}.gate_up_proj.weight",),
        (f"{experts}.gate_up_proj",),
    ]


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"attention_bias": False}, "attention_bias"),
        ({"swiglu_limit": 5.0}, "swiglu_limit"),
        ({"swiglu_alpha": 1.0}, "swiglu_alpha"),
        ({"hidden_act": "gelu"}, "silu"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of(NAME, **changes)
