"""The GLMs: fields under two names, special tokens that files leave unsaid, what llama.cpp can't do."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.registry import architecture_of
from quantize.vocabulary.vocabulary import SpecialTokens, Token, TokenType, Vocabulary

CHATGLM: dict[str, Any] = {
    "architectures": ["ChatGLMModel"],
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_layers": 2,
    "ffn_hidden_size": 96,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "padded_vocab_size": 128,
    "vocab_size": 120,
}
TRANSFORMERS: dict[str, Any] = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
}
GLM = {**TRANSFORMERS, "architectures": ["GlmForCausalLM"]}
GLM4 = {**TRANSFORMERS, "architectures": ["Glm4ForCausalLM"]}
TOKENS = [Token(text, TokenType.CONTROL) for text in ("a", "<|endoftext|>", "<|user|>")]


def metadata(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value.data for key, value in architecture_of(config | changes).metadata().items()}


def special(config: dict[str, Any], **ids: int) -> dict[str, Any]:
    vocabulary = Vocabulary("gpt2", "glm4", TOKENS, special=SpecialTokens(ids))
    return {k: v.data for k, v in architecture_of(config).vocabulary_metadata(vocabulary).items()}


def test_chatglm_sizes() -> None:
    assert architecture_of(CHATGLM).vocabulary_size == 128
    keys = metadata(CHATGLM, rope_ratio=50)
    assert keys["chatglm.attention.head_count_kv"] == 2
    assert keys["chatglm.rope.dimension_count"] == 8
    assert keys["chatglm.rope.freq_base"] == 500000.0
    assert metadata(CHATGLM, multi_query_attention=False)["chatglm.attention.head_count_kv"] == 4
    assert architecture_of(CHATGLM).tensor_name("transformer.rotary_pos_emb.inv_freq") is None


def test_glm_reads_its_own_fields() -> None:
    keys = metadata(GLM)
    assert keys["chatglm.context_length"] == 131072
    assert keys["chatglm.attention.layer_norm_rms_epsilon"] == 1.5625e-7
    assert keys["chatglm.rope.dimension_count"] == 8
    assert metadata(GLM, partial_rotary_factor=0.25)["chatglm.rope.dimension_count"] == 4


def test_glm4_has_two_norms_more() -> None:
    names = {rule.name for rule in architecture_of(GLM4).tensor_rules()}
    more = names - {rule.name for rule in architecture_of(GLM).tensor_rules()}
    assert more == {
        f"blk.{layer}.{norm}.weight" for layer in (0, 1) for norm in ("post_attention_norm", "post_ffw_norm")
    }
    assert metadata(GLM4, head_dim=32)["glm4.attention.key_length"] == 32


def test_special_tokens_that_no_file_names() -> None:
    prefix = "tokenizer.ggml"
    found = {f"{prefix}.eos_token_id": 1, f"{prefix}.eot_token_id": 2, f"{prefix}.unknown_token_id": 1}
    assert special(GLM4) == found | {f"{prefix}.bos_token_id": 1}
    for config in (GLM, CHATGLM):
        assert special(config) == found | {f"{prefix}.add_bos_token": False}
    assert f"{prefix}.eos_token_id" not in special(GLM4, eos=0)


@pytest.mark.parametrize(
    ("config", "changes", "reason"),
    [
        (CHATGLM, {"kv_channels": 32}, "kv_channels 32"),
        (CHATGLM, {"rmsnorm": False}, "layer norms"),
        (CHATGLM, {"post_layer_norm": False}, "no norm after"),
        (CHATGLM, {"add_bias_linear": True}, "biases"),
        (CHATGLM, {"multi_query_group_num": 3}, "key-value heads"),
        (GLM, {"head_dim": 32}, "together"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    config: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        architecture_of(config | changes)
