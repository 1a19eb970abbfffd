"""Added tokens over pieces: the common rules, Phi-3's, InternLM2's."""

from __future__ import annotations

import pytest

from quantize.vocabulary.added_tokens import AS_MARKED, COMMON, INTERNLM2, AddedTokenRules
from quantize.vocabulary.files import AddedToken
from quantize.vocabulary.vocabulary import Token, TokenType


@pytest.mark.parametrize(
    ("rules", "added", "text", "kind"),
    [
        (COMMON, AddedToken(0, "<|a|>", special=False), "<|a|>", TokenType.CONTROL),
        (COMMON, AddedToken(0, "▁a", special=False), " a", TokenType.USER_DEFINED),
        (COMMON, AddedToken(0, "a", special=True), "a", TokenType.CONTROL),
        (AS_MARKED, AddedToken(0, "<|a|>", special=False), "<|a|>", TokenType.USER_DEFINED),
        (AS_MARKED, AddedToken(0, "▁a", special=False), "▁a", TokenType.USER_DEFINED),
        (AS_MARKED, AddedToken(0, "a", special=True), "a", TokenType.CONTROL),
    ],
)
def test_what_an_added_token_is(
    rules: AddedTokenRules, added: AddedToken, text: str, kind: TokenType
) -> None:
    assert rules.token(added) == Token(text, kind, -1000.0)


def test_pieces_of_internlm2() -> None:
    unused, zero = Token("[UNUSED_TOKEN_1]", TokenType.NORMAL), Token("\0", TokenType.NORMAL, -3.0)
    assert INTERNLM2.piece(unused).type is TokenType.UNUSED
    assert INTERNLM2.piece(zero) == Token("\N{DRAGON}", TokenType.UNUSED, -3.0)
    assert [COMMON.piece(token) for token in (unused, zero)] == [unused, zero]
