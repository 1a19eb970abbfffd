"""The vocabularies of tokenizer.json: byte-level BPE (GPT-2, Llama 3, Qwen …) and WordPiece (BERT).

`byte_fallback` and `unigram` read its other kinds with the functions of this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.errors import UnknownTokenizer
from quantize.vocabulary.files import AddedToken, TokenizerFiles, looks_special
from quantize.vocabulary.vocabulary import Token, TokenType

MERGES_TXT_LIMIT_BYTES: Final = 64 * 2**20
"""A merges.txt may have at most this many bytes."""

WORDPIECE_PRE: Final = "jina-v2-en"
"""The converter's name for the pre-tokenizer of bert-base-uncased's vocabulary; llama.cpp doesn't read it."""

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


def byte_level_tokens(files: TokenizerFiles, n_vocab: int | None) -> list[Token]:
    """Return the tokens of a byte-level BPE by id, `[PAD0]` … where the file has none.

    Raises UnknownTokenizer: an id beyond the embedding, or two tokens with one id.
    """
    assert files.tokenizer is not None
    by_id: dict[int, Token] = {}
    for text, token_id in model_vocabulary(files.tokenizer).items():
        if token_id in by_id:
            raise UnknownTokenizer(f"tokenizer.json has two tokens with the id {token_id}; download it again")
        by_id[token_id] = Token(text, TokenType.NORMAL)
    for added in all_added_tokens(files):
        by_id[added.id] = _added_entry(added)
    size = vocabulary_size(max(by_id), n_vocab)
    return [by_id.get(i) or Token(f"[PAD{i}]", TokenType.UNUSED) for i in range(size)]


def vocabulary_size(largest_id: int, n_vocab: int | None, owner: str = "tokenizer.json") -> int:
    """Return `n_vocab`, the rows of the embedding, or if it is None the smallest size that fits.

    Raises UnknownTokenizer when the largest id lies beyond it.
    """
    size = largest_id + 1 if n_vocab is None else n_vocab
    if largest_id >= size:
        raise UnknownTokenizer(
            f"{owner} has the token id {largest_id}, the model's vocab_size is {size}; "
            "the two don't belong together: download the checkpoint again"
        )
    return size


def all_added_tokens(files: TokenizerFiles) -> list[AddedToken]:
    """Return the added tokens of tokenizer.json, then those that only tokenizer_config.json has."""
    tokens = files.added_in_tokenizer()
    known_ids, known_texts = {token.id for token in tokens}, {token.content for token in tokens}
    more = (t for t in files.added_in_config() if t.id not in known_ids and t.content not in known_texts)
    return [*tokens, *more]


def _added_entry(token: AddedToken) -> Token:
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


def wordpiece_tokens(files: TokenizerFiles, n_vocab: int | None) -> list[Token]:
    """Return the tokens of a WordPiece vocabulary by id, in the form that llama.cpp reads.

    There a token that begins a word is marked by `▁`, and one that goes on has no mark: the opposite of `##`.
    Raises UnknownTokenizer: another mark than `##`, or an id beyond the embedding.
    """
    assert files.tokenizer is not None
    mark = files.tokenizer["model"].get("continuing_subword_prefix", _CONTINUATION)
    if mark != _CONTINUATION:
        raise UnknownTokenizer(
            f"tokenizer.json marks the rest of a word by {mark!r}; llama.cpp knows {_CONTINUATION!r}"
        )
    by_id = {
        token_id: Token(text, TokenType.NORMAL)
        for text, token_id in model_vocabulary(files.tokenizer).items()
    }
    for added in all_added_tokens(files):
        special = added.special or looks_special(added.content)
        by_id[added.id] = Token(added.content, TokenType.CONTROL if special else TokenType.USER_DEFINED)
    size = vocabulary_size(max(by_id), n_vocab, "the tokenizer")
    padded = (by_id.get(i) or Token(f"[PAD{i}]", TokenType.UNUSED) for i in range(size))
    return [_mark_word_start(token) for token in padded]


def _mark_word_start(token: Token) -> Token:
    if token.type is TokenType.CONTROL:
        return token
    rest = token.text.removeprefix(_CONTINUATION)
    return Token(rest if rest != token.text else _WORD_START + token.text, token.type)
