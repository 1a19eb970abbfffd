"""Llama and Mistral: hyper-parameters, defaults, tensors, and configurations that can't be right."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.families.llama import Llama, Mistral
from quantize.architectures.registry import architecture_of
from quantize.vocabulary.vocabulary import Token, TokenType, Vocabulary

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}


def metadata(**changes: Any) -> dict[str, Any]:
    return {key: value.data for key, value in architecture_of(CONFIG | changes).metadata().items()}


def test_the_registry_finds_families() -> None:
    assert type(architecture_of(CONFIG)) is Llama
    assert type(architecture_of(CONFIG | {"architectures": ["MistralForCausalLM"]})) is Mistral


@pytest.mark.parametrize("architectures", [None, [], "LlamaForCausalLM", [3]])
def test_a_config_without_architecture(architectures: Any) -> None:
    with pytest.raises(CheckpointError, match="doesn't say its architecture"):
        architecture_of({"architectures": architectures})


def test_silent_fields_have_transformers_defaults() -> None:
    keys = metadata(num_key_value_heads=None)
    assert keys["llama.attention.head_count_kv"] == 4
    assert keys["llama.context_length"] == 2048
    assert keys["llama.attention.layer_norm_rms_epsilon"] == 1e-6
    assert keys["llama.rope.freq_base"] == 10000.0
    mistral = metadata(architectures=["MistralForCausalLM"], num_attention_heads=8, num_key_value_heads=None)
    assert mistral["llama.attention.head_count_kv"] == 8
    assert mistral["llama.context_length"] == 131072


def test_head_dim_shapes_the_projections() -> None:
    rules = {rule.name: rule for rule in architecture_of(CONFIG | {"head_dim": 32}).tensor_rules()}
    assert rules["blk.0.attn_q.weight"].shape == (128, 64)
    assert rules["blk.1.attn_k.weight"].shape == (64, 64)
    assert rules["blk.1.attn_output.weight"].shape == (64, 128)


def test_what_may_be_missing() -> None:
    def optional(**changes: Any) -> set[str]:
        return {rule.name for rule in architecture_of(CONFIG | changes).tensor_rules() if rule.optional}

    assert "output.weight" not in optional()
    assert "output.weight" in optional(tie_word_embeddings=True)
    assert "blk.0.attn_q.bias" in optional()
    assert "blk.0.attn_q.bias" not in optional(attention_bias=True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_size": 0}, "hidden_size in config.json is 0"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers"),
        ({"num_attention_heads": 3}, "heads"),
        ({"num_key_value_heads": 3}, "multiple of the key-value heads"),
        ({"head_dim": 15}, "heads must be even"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"rope_scaling": {"type": "sideways"}}, "rope_type 'sideways'"),
        ({"rope_scaling": {"type": "linear"}}, "no factor"),
        ({"rope_scaling": "linear"}, "rope_scaling"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "longrope"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
    ],
)
def test_impossible_configurations_are_named(changes: dict[str, Any], reason: str) -> None:
    def use() -> None:
        architecture = architecture_of(CONFIG | changes)
        architecture.metadata()
        architecture.tensor_rules()

    with pytest.raises(CheckpointError, match=reason):
        use()


def test_tokenizer_keys_of_the_family() -> None:
    tokens = [Token("a", TokenType.NORMAL)]
    plain = Vocabulary("llama", "default", tokens, tokenizer_config={"add_prefix_space": False})
    keys = architecture_of(CONFIG).vocabulary_metadata(plain)
    assert keys["tokenizer.ggml.add_space_prefix"].data is False
    code_llama = architecture_of(CONFIG | {"vocab_size": 32016}).vocabulary_metadata(plain)
    assert code_llama["tokenizer.ggml.eot_token_id"].data == 32010
