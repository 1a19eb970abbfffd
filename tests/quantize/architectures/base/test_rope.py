"""Rotary settings in both spellings, and Llama 3's factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rope import Rope
from quantize.architectures.registry import architecture_of

LLAMA31 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def rope(**fields: Any) -> Rope:
    return Rope.of(ModelConfig(fields))


def test_old_and_new_spelling_agree() -> None:
    old = rope(rope_theta=500000.0, rope_scaling={"type": "linear", "factor": 2})
    new = rope(rope_parameters={"rope_type": "linear", "factor": 2, "rope_theta": 500000.0})
    assert old.metadata("llama", 4096) == new.metadata("llama", 4096)


def test_without_any_the_base_is_ten_thousand() -> None:
    assert rope().metadata("llama", 64)["llama.rope.freq_base"].data == 10000.0
    assert rope(rope_scaling=None).llama3_factors(64, 64) is None


def test_yarn_takes_the_models_context_where_it_names_none() -> None:
    keys = rope(rope_scaling={"type": "yarn", "factor": 4.0}).metadata("llama", 4096)
    assert keys["llama.rope.scaling.original_context_length"].data == 4096


def test_settings_are_assumed_where_there_are_none() -> None:
    assumed = {"rope_type": "linear", "factor": 3.0, "rope_theta": 5.0}
    silent: tuple[dict[str, Any], ...] = ({}, {"rope_scaling": {}}, {"rope_parameters": None})
    for fields in silent:
        found = Rope.of_or_assumed(ModelConfig(fields), assumed, 7.0)
        assert (found.kind, found.theta) == ("linear", 5.0)
    said: tuple[dict[str, Any], ...] = ({"rope_parameters": {}}, {"rope_scaling": {"rope_type": "default"}})
    for fields in said:
        found = Rope.of_or_assumed(ModelConfig(fields), assumed, 7.0)
        assert (found.kind, found.theta) == ("default", 7.0)


def test_sections_of_rotary_settings() -> None:
    yarn = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}
    windows = {"layer_types": ["full_attention", "sliding_attention"]}
    local = {"rope_theta": 3.0}
    both = {"full_attention": yarn, "sliding_attention": local}
    full, window = Rope.of_sections(ModelConfig({**windows, "rope_parameters": both}), 7.0, 5.0)
    assert (full.kind, full.theta, window.kind, window.theta) == ("yarn", 7.0, "default", 3.0)
    full, window = Rope.of_sections(ModelConfig(windows), 7.0, 5.0)
    assert (full.kind, full.theta, window.theta) == ("default", 7.0, 5.0)
    unbounded = {"full_attention": {"rope_type": "yarn", "factor": 2.0}, "sliding_attention": local}
    for settings, reason in (
        ({"full_attention": yarn}, "without sliding_attention"),
        (yarn, "without full_attention"),
        (unbounded, "original_max_position_embeddings"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            Rope.of_sections(ModelConfig({**windows, "rope_parameters": settings}), 7.0, 5.0)


def test_llama3_keeps_short_waves_and_slows_long_ones() -> None:
    factors = rope(rope_theta=500000.0, rope_scaling=LLAMA31).llama3_factors(128, 131072)
    assert factors is not None
    values = np.array(factors)
    assert len(values) == 64
    assert values[0] == 1.0
    assert values[-1] == 8.0
    assert (np.diff(values) >= 0).all()
    # The wave of 8192 / 4 tokens is the last that is kept: 2π · theta^(2i/128) < 2048 up to i = 28.
    assert (values[:29] == 1.0).all()
    assert 1.0 < values[29] < 8.0


@pytest.mark.parametrize("changes", [{"low_freq_factor": 5.0}, {"factor": 0}, {"factor": -8}])
def test_llama3_factors_that_make_no_sense(changes: dict[str, float]) -> None:
    with pytest.raises(CheckpointError, match="0 < low <= high"):
        rope(rope_scaling=LLAMA31 | changes).llama3_factors(128, 131072)


def test_the_newer_place_counts_before_a_stale_base_outside() -> None:
    stale = rope(rope_theta=1.0, rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    assert stale.theta == 5e5
    assert rope(rope_theta=None, rope_parameters={"rope_theta": 5e5}).theta == 5e5
    assert rope(rope_theta=3e4, rope_parameters={"rope_type": "default"}).theta == 3e4


def test_the_older_name_counts_unless_it_is_empty() -> None:
    linear = {"rope_type": "linear", "factor": 2.0}
    assert rope(rope_scaling=linear, rope_parameters={"rope_type": "default"}).kind == "linear"
    for nothing in (None, dict[str, Any]()):
        assert rope(rope_scaling=nothing, rope_parameters=linear).kind == "linear"


def test_the_first_context_length_is_found_in_either_place() -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    key = "x.rope.scaling.original_context_length"
    assert rope(rope_parameters=yarn).metadata("x", 4096)[key].data == 64
    outer = rope(rope_parameters=yarn, original_max_position_embeddings=128)
    assert outer.metadata("x", 4096)[key].data == 128


def test_a_factor_that_is_null_is_the_ratio_of_the_lengths() -> None:
    yarn = {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 1024}
    assert rope(rope_parameters=yarn).metadata("x", 4096)["x.rope.scaling.factor"].data == 4.0


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ({"rope_theta": None}, "rope_theta null"),
        ({"rope_parameters": {"rope_theta": None}}, "rope_theta null"),
        ({"rope_parameters": {"rope_type": None}}, "rope_type null"),
        ({"rope_parameters": {"rope_type": "linear"}}, "no factor"),
        ({"rope_parameters": {"rope_type": "linear", "factor": None}}, "factor null"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "no factor"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, "each type of layer"),
        ({"rope_scaling": LLAMA31 | {"original_max_position_embeddings": None}}, "embeddings null"),
    ],
)
def test_settings_that_transformers_cannot_compute_with(fields: dict[str, Any], fact: str) -> None:
    def read() -> None:
        found = rope(**fields)
        found.metadata("x", 4096)
        found.llama3_factors(64, 4096)

    with pytest.raises(CheckpointError, match=fact):
        read()


@pytest.mark.parametrize("missing", ["factor", "low_freq_factor", "high_freq_factor"])
def test_llama3_needs_its_factors(missing: str) -> None:
    with pytest.raises(CheckpointError, match=f"no {missing}"):
        rope(rope_scaling={k: v for k, v in LLAMA31.items() if k != missing}).llama3_factors(64, 4096)


@pytest.mark.parametrize(
    "name", ["GemmaForCausalLM", "GPTNeoXForCausalLM", "FalconForCausalLM", "GlmForCausalLM"]
)
def test_llama3s_factors_are_refused_where_llama_cpp_has_no_place(name: str) -> None:
    sizes = {"hidden_size": 128, "num_attention_heads": 1, "num_key_value_heads": 1}
    with pytest.raises(CheckpointError, match="llama3"):
        architecture_of({"architectures": [name], **sizes, "rope_parameters": LLAMA31})
