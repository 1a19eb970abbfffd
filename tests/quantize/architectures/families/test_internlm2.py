"""InternLM2: queries, keys and values out of the fused matrix, and what its vocabulary says of the end."""

from __future__ import annotations

import pytest

from quantize.vocabulary.vocabulary import Token, TokenType, Vocabulary
from tests.quantize.architectures.base.test_decoder import of, rules_of


def test_each_group_holds_queries_then_a_key_then_a_value() -> None:
    rules = rules_of("InternLM2ForCausalLM")  # 2 groups of 2 heads of 16 numbers
    q, k = rules["blk.0.attn_q.weight"].transform.inner, rules["blk.0.attn_k.weight"].transform.inner
    v = rules["blk.0.attn_v.weight"].transform
    assert (q.runs, k.runs, v.runs) == (
        ((0, 32), (64, 96)),
        ((32, 48), (96, 112)),
        ((48, 64), (112, 128)),
    )
    assert q.of == k.of == v.of == 128


@pytest.mark.parametrize(
    ("kind", "expected"), [(TokenType.CONTROL, 1), (TokenType.USER_DEFINED, 1), (TokenType.NORMAL, None)]
)
def test_chat_models_end_by_im_end(kind: TokenType, expected: int | None) -> None:
    tokens = [Token("a", TokenType.NORMAL), Token("<|im_end|>", kind)]
    vocabulary = Vocabulary("llama", "default", tokens, dummy_prefix=False)
    keys = of("InternLM2ForCausalLM").vocabulary_metadata(vocabulary)
    found = keys.get("tokenizer.ggml.eos_token_id")
    assert (None if found is None else found.data) == expected
    assert keys["tokenizer.ggml.add_space_prefix"].data is False
