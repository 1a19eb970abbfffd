"""Llama's tokenizer given only as tokenizer.json: BPE over text with `▁` for a space, bytes as a fallback.

llama.cpp runs these as SentencePiece, which merges by score rather than by merge order. Transformers made
the merges from the scores, so the first merge that makes a token gives its score back: minus its place. (The
converter writes -1000 everywhere, which makes llama.cpp split text otherwise than the model was trained.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from models.errors import UnknownTokenizer
from quantize.vocabulary.byte_level import all_added_tokens, model_vocabulary, read_merges
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.special_tokens import ROLES
from quantize.vocabulary.vocabulary import Token, TokenType

BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
UNMERGED_SCORE = -1e9
SPECIAL_SCORE = -1000.0
SPACE = "\u2581"


def is_byte_fallback(tokenizer: Mapping[str, Any]) -> bool:
    """Is this tokenizer.json of Llama's kind: a BPE with byte_fallback, decoded by a Sequence?"""
    model, decoder = tokenizer.get("model"), tokenizer.get("decoder")
    if not isinstance(model, dict) or not isinstance(decoder, dict):
        return False
    return bool(
        model.get("type") == "BPE" and model.get("byte_fallback") and decoder.get("type") == "Sequence"
    )


def byte_fallback_tokens(files: TokenizerFiles, n_vocab: int | None) -> list[Token]:
    """All tokens by id, `[PAD0]` … where nothing is. Raises UnknownTokenizer: an id beyond the embedding."""
    assert files.tokenizer is not None
    vocabulary = model_vocabulary(files.tokenizer)
    special = _special_texts(files)
    scores: dict[str, float] = {}
    for place, merge in enumerate(read_merges(files)):
        scores.setdefault(merge.replace("\u0120", " ").replace(" ", ""), -float(place))
    by_id: dict[int, Token] = {}
    for text, token_id in vocabulary.items():
        by_id[token_id] = Token(text, _type(text, special), _score(text, special, scores))
    for added in all_added_tokens(files):
        if added.id not in by_id:
            kind = TokenType.CONTROL if added.special or added.content in special else TokenType.USER_DEFINED
            by_id[added.id] = Token(added.content, kind, SPECIAL_SCORE)
    largest = max(by_id)
    size = largest + 1 if n_vocab is None else n_vocab
    if largest >= size:
        raise UnknownTokenizer(
            f"tokenizer.json has the token id {largest}, the model's vocab_size is {size}; "
            "the two don't belong together: download the checkpoint again"
        )
    return [by_id.get(i) or Token(f"[PAD{i}]", TokenType.UNUSED, SPECIAL_SCORE) for i in range(size)]


def _special_texts(files: TokenizerFiles) -> set[str]:
    named = {text for role in ROLES if (text := files.special_content(role))}
    return named | {token.content for token in all_added_tokens(files) if token.special}


def _type(text: str, special: set[str]) -> TokenType:
    if BYTE_TOKEN.fullmatch(text):
        return TokenType.BYTE
    return TokenType.CONTROL if text in special else TokenType.NORMAL


def _score(text: str, special: set[str], scores: Mapping[str, float]) -> float:
    if text in special or BYTE_TOKEN.fullmatch(text):
        return SPECIAL_SCORE
    return scores.get(text, UNMERGED_SCORE)
