"""Gemma: layers with a window, two frequencies in either spelling, the text part of models that see."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from tests.quantize.architectures.base.test_decoder import CONFIG, keys_of, of

GEMMA3 = {"num_hidden_layers": 6, "head_dim": 16, "query_pre_attn_scalar": 16}
PATTERN = "gemma3.attention.sliding_window_pattern"


def test_the_window_of_llama_cpps_own_pattern_needs_no_word() -> None:
    assert PATTERN not in keys_of("Gemma3ForCausalLM", **GEMMA3)
    said = ["sliding_attention"] * 5 + ["full_attention"]
    assert PATTERN not in keys_of("Gemma3ForCausalLM", **GEMMA3, layer_types=said)


def test_another_pattern_is_said() -> None:
    said = ["full_attention"] + ["sliding_attention"] * 5
    keys = keys_of("Gemma3ForCausalLM", **GEMMA3, layer_types=said, sliding_window=128)
    assert keys["gemma3.attention.sliding_window"] == 128
    assert keys[PATTERN] == (False, True, True, True, True, True)
    assert keys_of("Gemma3ForCausalLM", **GEMMA3, sliding_window_pattern=2)[PATTERN] == (True, False) * 3


def test_without_windows_there_is_no_window() -> None:
    assert "gemma3.attention.sliding_window" not in keys_of(
        "Gemma3ForCausalLM", **GEMMA3, sliding_window_pattern=1
    )


def test_layer_types_that_make_no_sense() -> None:
    for kinds in (["full_attention"], ["full_attention"] * 5 + ["chunked_attention"]):
        with pytest.raises(CheckpointError, match="layer_types"):
            keys_of("Gemma3ForCausalLM", **GEMMA3, layer_types=kinds)


def test_frequencies_in_either_spelling() -> None:
    older = {"rope_theta": 5e5, "rope_local_base_freq": 2e4, "rope_scaling": {"type": "linear", "factor": 8}}
    newer = {
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 5e5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
        }
    }
    expected = {"freq_base": 5e5, "freq_base_swa": 2e4, "scaling.type": "linear", "scaling.factor": 8.0}
    for spelling in (older, newer):
        keys = keys_of("Gemma3ForCausalLM", **GEMMA3, **spelling)
        assert {key[len("gemma3.rope.") :]: keys[key] for key in keys if ".rope." in key} == expected


def test_the_text_of_a_model_that_sees() -> None:
    text = CONFIG | GEMMA3
    model = of("Gemma3ForConditionalGeneration", hidden_size=None, text_config=text)
    assert model.hyperparameters.n_embd == 64
    for name in ("language_model.model.norm.weight", "model.language_model.norm.weight"):
        assert model.tensor_name(name) == "model.norm.weight"
    for name in ("vision_tower.x", "model.vision_tower.x", "multi_modal_projector.x"):
        assert model.tensor_name(name) is None


@pytest.mark.parametrize(
    ("architecture", "changes", "fact"),
    [
        ("Gemma2ForCausalLM", {"query_pre_attn_scalar": 144}, "computes with 16"),
        ("Gemma2ForCausalLM", {"num_hidden_layers": 46, "hidden_size": 128}, "computes with 32"),
        ("Gemma3ForCausalLM", {"attn_logit_softcapping": 50.0}, "doesn't cap attention"),
    ],
)
def test_what_llama_cpp_computes_otherwise(architecture: str, changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of(architecture, **GEMMA3 | changes)
