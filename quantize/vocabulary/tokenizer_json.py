"""The vocabularies of tokenizer.json: byte-level BPE (GPT-2, Llama 3, Qwen …) and WordPiece (BERT).

`byte_fallback` and `unigram` read its other kinds with the functions of this module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from models.errors import UnknownTokenizer
from quantize.vocabulary.files import AddedToken, TokenizerFiles, looks_special
from quantize.vocabulary.token_table import TokenTable, padding_text
from quantize.vocabulary.vocabulary import Token, TokenType

MERGES_TXT_LIMIT_BYTES: Final = 64 * 2**20
"""A merges.txt may have at most this many bytes."""

WORDPIECE_PRE: Final = "jina-v2-en"
"""The converter's name for the pre-tokenizer of bert-base-uncased's vocabulary; llama.cpp doesn't read it."""

PADDING: Final = Token("", TokenType.UNUSED)

_CONTINUATION: Final = "##"
_WORD_START: Final = "\u2581"


def model_vocabulary(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Return `model.vocab` of tokenizer.json: text → id. Raises UnknownTokenizer when it is malformed."""
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise UnknownTokenizer(
            "tokenizer.json has no model.vocab with texts and ids; its kind isn't supported"
        )
    if not all(type(token_id) is int and 0 <= token_id < 2**31 for token_id in vocabulary.values()):
        raise UnknownTokenizer("tokenizer.json has a token whose id is no natural number; download it again")
    return vocabulary


def json_table(files: TokenizerFiles, n_vocab: int | None) -> TokenTable:
    """Return the texts and ids of a tokenizer.json whose model has them by text, and of added tokens.

    Raises UnknownTokenizer: the model's own ids beyond the embedding, or two texts with one id.
    """
    assert files.tokenizer is not None
    base = model_vocabulary(files.tokenizer)
    check_own_ids(base, n_vocab)
    return TokenTable.of(files, base, n_vocab)


def check_own_ids(base: Mapping[str, int], n_vocab: int | None, owner: str = "tokenizer.json") -> None:
    """Check that each of the model's own tokens has an id of its own, and that the embedding has it.

    Raises UnknownTokenizer.
    """
    texts: dict[int, str] = {}
    for text, token_id in base.items():
        if token_id in texts:
            raise UnknownTokenizer(
                f"{owner} has two tokens with the id {token_id}, {texts[token_id]!r} and {text!r}; "
                "download it again"
            )
        texts[token_id] = text
    if n_vocab is not None and (largest := max(texts)) >= n_vocab:
        raise UnknownTokenizer(
            f"{owner} has the token id {largest} ({texts[largest]!r}), the model's vocab_size is {n_vocab}; "
            "the two don't belong together: download the checkpoint again"
        )


def by_id(table: TokenTable, n_vocab: int | None, padding: Token = PADDING) -> list[Token]:
    """Return the tokens of a table by id, normal ones and added ones, and padding where there is none."""
    size = max([*table.ids.values(), *table.added], default=-1) + 1 if n_vocab is None else n_vocab
    tokens = [dataclasses.replace(padding, text=padding_text(i, table.ids)) for i in range(size)]
    for text, token_id in table.ids.items():
        tokens[token_id] = Token(text, TokenType.NORMAL)
    for token_id, added in table.added.items():
        tokens[token_id] = added_entry(added)
    return tokens


def added_entry(token: AddedToken) -> Token:
    """Return the vocabulary's entry for an added token."""
    if token.special or looks_special(token.content):
        return Token(token.content, TokenType.CONTROL)
    return Token(token.content.replace("\u2581", " "), TokenType.USER_DEFINED)


def read_merges(files: TokenizerFiles) -> list[str]:
    """Return the merges as `left right`, from tokenizer.json or merges.txt. Raises UnknownTokenizer.

    A space inside a part is written as GPT-2's byte character for it, as everywhere else in such a
    vocabulary.
    """
    model = (files.tokenizer or {}).get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    if not merges:
        return _merges_txt(files)
    if isinstance(merges, list) and all(isinstance(merge, str) for merge in merges):
        return merges
    if isinstance(merges, list) and all(_is_pair(merge) for merge in merges):
        return [" ".join(part.replace(" ", "\u0120") for part in merge) for merge in merges]
    raise UnknownTokenizer("model.merges of tokenizer.json are neither strings nor pairs; download it again")


def _is_pair(merge: Any) -> bool:
    return isinstance(merge, list) and len(merge) == 2 and all(isinstance(part, str) for part in merge)


def _merges_txt(files: TokenizerFiles) -> list[str]:
    path = files.directory / "merges.txt"
    if not path.is_file() or path.stat().st_size > MERGES_TXT_LIMIT_BYTES:
        raise UnknownTokenizer(
            "the tokenizer has neither model.merges in tokenizer.json nor a merges.txt; add one"
        )
    lines = path.read_text(encoding="utf-8", errors="strict").split("\n")
    pairs = [line.split() for line in lines[lines[0].startswith("#") :] if line.strip()]
    return [" ".join(pair) for pair in pairs if len(pair) == 2]


def wordpiece_tokens(files: TokenizerFiles, table: TokenTable, n_vocab: int | None) -> list[Token]:
    """Return the tokens of a WordPiece vocabulary by id, in the form that llama.cpp reads.

    There a token that begins a word is marked by `▁`, and one that goes on has no mark: the opposite of `##`.
    Raises UnknownTokenizer: another mark than `##`.
    """
    assert files.tokenizer is not None
    mark = files.tokenizer["model"].get("continuing_subword_prefix", _CONTINUATION)
    if mark != _CONTINUATION:
        raise UnknownTokenizer(
            f"tokenizer.json marks the rest of a word by {mark!r}; llama.cpp knows {_CONTINUATION!r}"
        )
    tokens = by_id(table, n_vocab)
    for token_id, added in table.added.items():
        tokens[token_id] = Token(added.content, tokens[token_id].type)
    return [_mark_word_start(token) for token in tokens]


def _mark_word_start(token: Token) -> Token:
    if token.type is TokenType.CONTROL:
        return token
    rest = token.text.removeprefix(_CONTINUATION)
    return Token(rest if rest != token.text else _WORD_START + token.text, token.type)
