"""A family's rules for tokens that were added to a SentencePiece model, as in llama.cpp's converter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quantize.vocabulary.files import AddedToken, looks_special
from quantize.vocabulary.vocabulary import Token, TokenType

ADDED_SCORE: Final = -1000.0
"""The score of added tokens."""

WORD_START: Final = "\u2581"


@dataclass(frozen=True)
class AddedTokenRules:
    """A family's rules.

    With `as_marked` a token is special only if it is
    marked so, and keeps its text; else texts that look special are, and in others a word's start is a space.
    Pieces that begin with `unused_prefix` are placeholders. `zero` replaces the piece that is one zero byte,
    which would end a C string; it is never made from text.
    """

    as_marked: bool = False
    unused_prefix: str | None = None
    zero: str | None = None

    def token(self, added: AddedToken) -> Token:
        """Return the vocabulary's entry for an added token."""
        if added.special or (looks_special(added.content) and not self.as_marked):
            return Token(added.content, TokenType.CONTROL, ADDED_SCORE)
        text = added.content if self.as_marked else added.content.replace(WORD_START, " ")
        return Token(text, TokenType.USER_DEFINED, ADDED_SCORE)

    def piece(self, token: Token) -> Token:
        """Return the vocabulary's entry for a piece."""
        if self.zero is not None and token.text == "\0":
            return Token(self.zero, TokenType.UNUSED, token.score)
        if self.unused_prefix is not None and token.text.startswith(self.unused_prefix):
            return Token(token.text, TokenType.UNUSED, token.score)
        return token


COMMON: Final = AddedTokenRules()
AS_MARKED: Final = AddedTokenRules(as_marked=True)
INTERNLM2: Final = AddedTokenRules(as_marked=True, unused_prefix="[UNUSED", zero="\N{DRAGON}")
