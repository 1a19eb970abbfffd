"""BPE with byte fallback: Llama's tokenizer where it is given only as tokenizer.json.

It is a BPE over text with `▁` for a space, and bytes as a fallback.

llama.cpp runs these as SentencePiece, which merges by score rather than by merge order. Transformers made
the merges from the scores, so the first merge that makes a token gives its score back: minus its place. (The
converter writes -1000 everywhere, which makes llama.cpp split text otherwise than the model was trained.)
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Final

from quantize.vocabulary.added_tokens import WORD_START
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.token_table import TokenTable
from quantize.vocabulary.tokenizer_json import by_id, model_vocabulary, read_merges
from quantize.vocabulary.vocabulary import Token, TokenType

BYTE_TOKEN: Final = re.compile(r"<0x[0-9A-Fa-f]{2}>")
UNMERGED_SCORE: Final = -1e9
"""The score of a token that no merge makes."""

SHOWN: Final = frozenset(
    {
        "<|channel>",
        "<channel|>",
        "<|tool_call>",
        "<tool_call|>",
        "<|tool_response>",
        "<tool_response|>",
        '<|"|>',
    }
)
"""Gemma 4's special tokens that are part of an answer's text."""

SPECIAL_SCORE: Final = -1000.0
"""The score of special, byte and padding tokens, which no text is merged to."""


def is_byte_fallback(tokenizer: Mapping[str, Any]) -> bool:
    """True if this tokenizer.json is of Llama's kind: a BPE with byte_fallback, decoded by a Sequence."""
    model, decoder = tokenizer.get("model"), tokenizer.get("decoder")
    if not isinstance(model, dict) or not isinstance(decoder, dict):
        return False
    return bool(
        model.get("type") == "BPE" and model.get("byte_fallback") and decoder.get("type") == "Sequence"
    )


def byte_fallback_tokens(files: TokenizerFiles, table: TokenTable, n_vocab: int | None) -> list[Token]:
    """Return all tokens by id, `[PAD0]` … where the file has none."""
    assert files.tokenizer is not None
    special = {token.content for token in table.added.values() if token.special}
    scores: dict[str, float] = {}
    for place, merge in enumerate(read_merges(files)):
        scores.setdefault(merge.replace("\u0120", " ").replace(" ", ""), -float(place))
    own = model_vocabulary(files.tokenizer)
    tokens = by_id(table, n_vocab, Token("", TokenType.UNUSED, SPECIAL_SCORE))
    for text, token_id in own.items():
        tokens[token_id] = Token(text, _type(text, special), _score(text, special, scores))
    for token_id, added in table.added.items():
        is_own = added.content in own
        if is_own and (added.special or WORD_START in added.content or BYTE_TOKEN.fullmatch(added.content)):
            continue  # a run of spaces is merged of them, so it stays a normal token
        kind = TokenType.CONTROL if added.special else TokenType.USER_DEFINED
        tokens[token_id] = Token(added.content, kind, SPECIAL_SCORE)
    return tokens


def merging_tokens(files: TokenizerFiles, table: TokenTable, n_vocab: int | None) -> list[Token]:
    """Return all tokens by id for llama.cpp's tokenizer that goes by merges: no score counts.

    Marks of thoughts and calls are told as text, so that an answer's parts can be found.
    """
    return [
        dataclasses.replace(
            token,
            type=TokenType.USER_DEFINED if token.text in SHOWN else token.type,
            score=SPECIAL_SCORE,
        )
        for token in byte_fallback_tokens(files, table, n_vocab)
    ]


def _type(text: str, special: set[str]) -> TokenType:
    if BYTE_TOKEN.fullmatch(text):
        return TokenType.BYTE
    return TokenType.CONTROL if text in special else TokenType.NORMAL


def _score(text: str, special: set[str], scores: Mapping[str, float]) -> float:
    if text in special or BYTE_TOKEN.fullmatch(text):
        return SPECIAL_SCORE
    return scores.get(text, UNMERGED_SCORE)
