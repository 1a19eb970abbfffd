"""AFMoE: what llama.cpp has hard-wired."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from tests.quantize.architectures.base.test_decoder import keys_of, of

AFMOE: dict[str, Any] = {"num_hidden_layers": 4, "head_dim": 16, "mup_enabled": True}


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"mup_enabled": False}, "mup_enabled"),
        ({"global_attn_every_n_layers": 2}, "every fourth"),
        ({"attention_bias": True}, "attention_bias"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of("AfmoeForCausalLM", **AFMOE | changes)


def test_weights_of_experts_are_always_made_to_add_up() -> None:
    """The converter goes by route_norm, which transformers' class doesn't have."""
    assert keys_of("AfmoeForCausalLM", **AFMOE)["afmoe.expert_weights_norm"] is True
