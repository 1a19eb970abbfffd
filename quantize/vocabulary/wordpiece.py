"""WordPiece (BERT's) → vocabulary, in the form that llama.cpp reads.

There a token that begins a word is marked by `▁`, and one that goes on has no mark: the opposite of `##`.
"""

from __future__ import annotations

from models.errors import UnknownTokenizer
from quantize.vocabulary.byte_level import all_added_tokens, model_vocabulary
from quantize.vocabulary.files import TokenizerFiles, looks_special
from quantize.vocabulary.vocabulary import Token, TokenType

PRE = "jina-v2-en"  # what the converter calls the vocabulary of bert-base-uncased; llama.cpp doesn't read it
CONTINUATION = "##"
WORD_START = "\u2581"


def wordpiece_tokens(files: TokenizerFiles, n_vocab: int | None) -> list[Token]:
    """All tokens by id. Raises UnknownTokenizer: another mark than `##`, or an id beyond the embedding."""
    assert files.tokenizer is not None
    mark = files.tokenizer["model"].get("continuing_subword_prefix", CONTINUATION)
    if mark != CONTINUATION:
        raise UnknownTokenizer(
            f"tokenizer.json marks the rest of a word by {mark!r}; llama.cpp knows {CONTINUATION!r}"
        )
    by_id = {
        token_id: Token(text, TokenType.NORMAL)
        for text, token_id in model_vocabulary(files.tokenizer).items()
    }
    for added in all_added_tokens(files):
        special = added.special or looks_special(added.content)
        by_id[added.id] = Token(added.content, TokenType.CONTROL if special else TokenType.USER_DEFINED)
    largest = max(by_id)
    size = largest + 1 if n_vocab is None else n_vocab
    if largest >= size:
        raise UnknownTokenizer(
            f"the tokenizer has the token id {largest}, the model's vocab_size is {size}; "
            "the two don't belong together: download the checkpoint again"
        )
    padded = (by_id.get(i) or Token(f"[PAD{i}]", TokenType.UNUSED) for i in range(size))
    return [_in_llama_cpps_form(token) for token in padded]


def _in_llama_cpps_form(token: Token) -> Token:
    if token.type is TokenType.CONTROL:
        return token
    rest = token.text.removeprefix(CONTINUATION)
    return Token(rest if rest != token.text else WORD_START + token.text, token.type)
