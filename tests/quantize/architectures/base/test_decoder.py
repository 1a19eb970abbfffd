"""Decoders: defaults, refused configurations, the output matrix, keys that need a reason."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.registry import architecture_of

CONFIG: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}


def of(architecture: str, **changes: Any) -> Any:
    return architecture_of(CONFIG | {"architectures": [architecture]} | changes)


def keys_of(architecture: str, **changes: Any) -> dict[str, Any]:
    return {key: value.data for key, value in of(architecture, **changes).metadata().items()}


def rules_of(architecture: str, **changes: Any) -> dict[str, Any]:
    return {rule.name: rule for rule in of(architecture, **changes).tensor_rules()}


@pytest.mark.parametrize(
    ("architecture", "changes", "fact"),
    [
        ("StableLmForCausalLM", {"num_key_value_heads": 3}, "multiple of the key-value heads"),
        ("StableLmForCausalLM", {"head_dim": 32}, "together have its size"),
        ("StableLmForCausalLM", {"hidden_act": "relu"}, "computes silu only"),
        ("GemmaForCausalLM", {"tie_word_embeddings": False}, "no output matrix"),
        ("CohereForCausalLM", {"tie_word_embeddings": False}, "no output matrix"),
        ("PhiForCausalLM", {}, "as many of both"),
        ("Starcoder2ForCausalLM", {"use_bias": False}, "needs the biases"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(
    architecture: str, changes: dict[str, Any], fact: str
) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of(architecture, **changes)


def test_the_output_matrix_where_the_embedding_is_it() -> None:
    shared = rules_of("StableLmForCausalLM", tie_word_embeddings=True)["output.weight"]
    assert [form.sources for form in shared.forms] == [("lm_head.weight",), ("model.embed_tokens.weight",)]
    assert rules_of("Starcoder2ForCausalLM")["output.weight"].optional
    assert "output.weight" not in rules_of("GemmaForCausalLM", head_dim=16)
    assert of("GemmaForCausalLM", head_dim=16).tensor_name("lm_head.weight") is None
    own = rules_of("Starcoder2ForCausalLM", tie_word_embeddings=False)["output.weight"]
    assert own.sources == ("lm_head.weight",)


def test_another_base_of_the_rotation_is_written_where_the_converter_loses_it() -> None:
    assert "stablelm.rope.freq_base" not in keys_of("StableLmForCausalLM")
    assert keys_of("StableLmForCausalLM", rope_theta=1e6)["stablelm.rope.freq_base"] == 1e6


def test_the_rotated_part_of_a_head_in_either_place() -> None:
    assert keys_of("StableLmForCausalLM")["stablelm.rope.dimension_count"] == 4
    assert keys_of("StableLmForCausalLM", partial_rotary_factor=0.5)["stablelm.rope.dimension_count"] == 8
    nested = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75}
    assert keys_of("StableLmForCausalLM", rope_parameters=nested)["stablelm.rope.dimension_count"] == 12
    assert keys_of("StableLmForCausalLM", rope_pct=1.0)["stablelm.rope.dimension_count"] == 16
    outer_null = keys_of("StableLmForCausalLM", partial_rotary_factor=None)
    assert outer_null["stablelm.rope.dimension_count"] == 16, "all of it: null keeps the default away"
    with pytest.raises(CheckpointError, match="partial_rotary_factor null"):
        keys_of("StableLmForCausalLM", rope_parameters={"partial_rotary_factor": None})
