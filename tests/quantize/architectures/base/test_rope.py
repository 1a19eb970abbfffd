"""Rotary settings in both spellings, and Llama 3's factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rope import Rope

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


@pytest.mark.parametrize("changes", [{"low_freq_factor": 4.0}, {"factor": 0}, {"factor": -8}])
def test_llama3_factors_that_make_no_sense(changes: dict[str, float]) -> None:
    with pytest.raises(CheckpointError, match="0 < low < high"):
        rope(rope_scaling=LLAMA31 | changes).llama3_factors(128, 131072)
