"""Phi-3's rotary factors and how they sharpen attention; the MoE's own numbers for that."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from tests.quantize.architectures.base.test_decoder import keys_of, of, rules_of

FACTORS = {"short_factor": [1.0] * 8, "long_factor": [float(i + 1) for i in range(8)]}
LONG = {"max_position_embeddings": 131072, "original_max_position_embeddings": 4096}
MOE = {"attention_bias": True, "lm_head_bias": True}
SHARPENED = 1.190238  # sqrt(1 + ln(32) / ln(4096))


@pytest.mark.parametrize("kind", ["longrope", "su", "yarn"])
def test_long_contexts(kind: str) -> None:
    changes = {**LONG, "rope_scaling": {"type": kind, **FACTORS}}
    keys = keys_of("Phi3ForCausalLM", **changes)
    assert keys["phi3.rope.scaling.attn_factor"] == pytest.approx(SHARPENED)
    assert keys["phi3.rope.scaling.original_context_length"] == 4096
    assert keys["phi3.attention.sliding_window"] == 0
    long = rules_of("Phi3ForCausalLM", **changes)["rope_factors_long.weight"]
    assert long.transform.values == tuple(FACTORS["long_factor"])


def test_without_scaling() -> None:
    assert "phi3.rope.scaling.attn_factor" not in keys_of("Phi3ForCausalLM")
    assert not [name for name in rules_of("Phi3ForCausalLM") if name.startswith("rope_factors")]


def test_factors_that_fit_no_head() -> None:
    with pytest.raises(CheckpointError, match=r"has 8 long and 7 short rotary factors.*need 8 of each"):
        of("Phi3ForCausalLM", rope_scaling={"type": "longrope", **FACTORS, "short_factor": [1.0] * 7})
    with pytest.raises(CheckpointError, match="'linear' is not known"):
        of("Phi3ForCausalLM", rope_scaling={"type": "linear", "factor": 2.0})


@pytest.mark.parametrize(
    ("scales", "expected"), [({"short_mscale": 1.24, "long_mscale": 1.24}, 1.24), ({}, SHARPENED)]
)
def test_the_moe_says_its_own_factor(scales: dict[str, Any], expected: float) -> None:
    scaling = {"type": "longrope", **FACTORS, **scales}
    keys = keys_of("PhiMoEForCausalLM", **LONG, **MOE, rope_scaling=scaling)
    assert keys["phimoe.rope.scaling.attn_factor"] == pytest.approx(expected)


def test_what_the_moe_of_llama_cpp_cannot_do() -> None:
    scaling = {"type": "longrope", **FACTORS, "short_mscale": 1.0, "long_mscale": 1.2}
    with pytest.raises(CheckpointError, match="one factor for both"):
        keys_of("PhiMoEForCausalLM", **LONG, **MOE, rope_scaling=scaling)
    with pytest.raises(CheckpointError, match="needs both biases"):
        of("PhiMoEForCausalLM", attention_bias=True)


def test_the_text_of_phi4_with_vision() -> None:
    model = of("Phi4ForCausalLMV")
    for name in ("model.vision_tower.vision_tower.vision_model.head.probe", "model.mm_projector.0.weight"):
        assert model.tensor_name(name) is None
    assert model.tensor_name("model.norm.weight") == "model.norm.weight"
