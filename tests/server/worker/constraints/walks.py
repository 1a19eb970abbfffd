"""Random texts that a grammar allows: tokens by the matcher's masks, without a model."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from models.llamacpp.vocab import Vocab
from server.worker.constraints.compiler import CompiledGrammar

if TYPE_CHECKING:
    from llguidance import LLMatcher

_FREE_TOKENS = 40
"""After so many tokens a walk looks for the end."""
_TRIED = 600
MAX_TOKENS = 1_500


def allowed(matcher: LLMatcher) -> np.ndarray:
    """Return the tokens that may come next."""
    mask = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
    return np.flatnonzero(np.unpackbits(mask, bitorder="little"))


def walk(grammar: CompiledGrammar, vocab: Vocab, rng: random.Random) -> str:
    """Return a text that ends where the grammar lets it end."""
    matcher = grammar.matcher()
    end = set(vocab.eog_tokens)
    tokens: list[int] = []
    while True:
        choices = [int(token) for token in allowed(matcher)]
        assert choices, (grammar.error(matcher), _text(vocab, tokens))
        ends = [token for token in choices if token in end]
        if ends and (len(ends) == len(choices) or rng.random() < 0.3 or len(tokens) > _FREE_TOKENS):
            break
        choices = [token for token in choices if token not in end]
        token = rng.choice(choices) if len(tokens) < _FREE_TOKENS else _closing(matcher, choices, vocab, rng)
        assert matcher.consume_token(token), grammar.error(matcher)
        tokens.append(token)
        assert len(tokens) < MAX_TOKENS, _text(vocab, tokens)
    return _text(vocab, tokens)


def follows(grammar: CompiledGrammar, vocab: Vocab, text: str) -> bool:
    """Return True if the grammar allows exactly this text."""
    matcher = grammar.matcher()
    tokens = spelled(vocab, text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def spelled(vocab: Vocab, text: str) -> list[int]:
    """Return the longest tokens that spell a text, without the space that some vocabularies put first."""
    known = {vocab.piece(token): token for token in reversed(range(vocab.n_tokens))}
    longest = max(map(len, known))
    data, tokens, at = text.encode(), [], 0
    while at < len(data):
        n = next(n for n in range(longest, 0, -1) if data[at : at + n] in known and at + n <= len(data))
        tokens.append(known[data[at : at + n]])
        at += n
    return tokens


def _closing(matcher: LLMatcher, choices: list[int], vocab: Vocab, rng: random.Random) -> int:
    """Return a token that brings the end nearer: a closing mark, what lets a text end, or any short one."""
    (quote,) = spelled(vocab, '"')
    marks = [token for token in choices if vocab.piece(token) in (b'"', b"}", b"]")]
    if marks and rng.random() < 0.9:
        return marks[0]
    some = choices if len(choices) <= _TRIED else rng.sample(choices, _TRIED)
    if quote not in choices:
        for token in some:
            if matcher.validate_tokens([token, quote]) == 2:
                return token
    return min(some, key=lambda token: (len(vocab.piece(token)), rng.random()))


def _text(vocab: Vocab, tokens: list[int]) -> str:
    return b"".join(vocab.piece(token, special=True) for token in tokens).decode()
