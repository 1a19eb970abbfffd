"""SentencePiece's unigram vocabularies (T5's, XLM-RoBERTa's), from their own files or tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from models.errors import UnknownTokenizer
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.normalizer import precompiled_charsmap, steps
from quantize.vocabulary.sentencepiece import (
    PADDING_SCORE,
    Piece,
    SentencePieceModel,
    piece_table,
    piece_tokens,
    read_sentencepiece,
)
from quantize.vocabulary.special_tokens import filled, special_tokens
from quantize.vocabulary.token_table import TokenTable, padding_text
from quantize.vocabulary.tokenizer_json import check_own_ids
from quantize.vocabulary.vocabulary import Token, TokenType, Unigram, Vocabulary

T5_FILE_NAME: Final = "spiece.model"
XLM_FILE_NAME: Final = "sentencepiece.bpe.model"
"""The file's name says BPE, and it is a unigram model."""

XLM_FIRST: Final = (
    Token("<s>", TokenType.CONTROL),
    Token("<pad>", TokenType.CONTROL),
    Token("</s>", TokenType.CONTROL),
    Token("<unk>", TokenType.UNKNOWN),
)
XLM_OWN: Final = 3
"""The number of pieces that XLM_FIRST replaces: <unk>, <s>, </s>."""

END: Final = "</s>"
"""The end of a text in all these vocabularies."""

MASK: Final = Token("<mask>", TokenType.CONTROL)


def unigram_vocabulary(files: TokenizerFiles, n_vocab: int | None) -> Vocabulary | None:
    """Return the vocabulary if the folder has one of this kind, else None.

    Raises UnknownTokenizer: damaged files, or an id beyond the embedding.
    """
    for name in (XLM_FILE_NAME, T5_FILE_NAME):
        path = files.directory / name
        if path.is_file():
            model = _read_unigram(path)
            xlm = name == XLM_FILE_NAME
            if not xlm:
                return model_vocabulary_of(files, model, n_vocab)
            return _vocabulary(files, *_xlm_tokens(files, model, n_vocab), model.preparation)
    if files.tokenizer is not None and model_kind(files.tokenizer) == "Unigram":
        return _vocabulary(files, *_json_tokens(files, n_vocab), _json_preparation(files))
    return None


def model_vocabulary_of(files: TokenizerFiles, model: SentencePieceModel, n_vocab: int | None) -> Vocabulary:
    """Return the vocabulary of a tokenizer.model that turned out to be a unigram model."""
    table = piece_table(files, model.pieces, n_vocab)
    return _vocabulary(files, piece_tokens(table, model.pieces, n_vocab), table, model.preparation)


def model_kind(tokenizer: Mapping[str, Any]) -> str | None:
    """Return `model.type` of tokenizer.json, None where it isn't text."""
    model = tokenizer.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    return kind if isinstance(kind, str) else None


def _vocabulary(
    files: TokenizerFiles, tokens: Sequence[Token], table: TokenTable, preparation: Unigram
) -> Vocabulary:
    unknown = [i for i, token in enumerate(tokens) if token.type is TokenType.UNKNOWN]
    own = {"unk": unknown[-1]} if unknown else {}
    own |= {"eos": table.ids[END]} if END in table.ids else {}
    special = filled(special_tokens(files, table, len(tokens), "t5"), own, "t5")
    return Vocabulary("t5", "default", tokens, special=special, unigram=preparation, table=table)


def _read_unigram(path: Path) -> SentencePieceModel:
    model = read_sentencepiece(path)
    if not model.is_unigram:
        raise UnknownTokenizer(
            f"{path.name} is a SentencePiece BPE, a unigram model was expected; "
            "name it tokenizer.model if that is right"
        )
    return model


def _xlm_tokens(
    files: TokenizerFiles, model: SentencePieceModel, n_vocab: int | None
) -> tuple[list[Token], TokenTable]:
    """Return tokens in fairseq's order: four of its own, then the pieces but for the first three."""
    size = max(n_vocab or 0, len(model.pieces))
    pieces = [padding(i) for i in range(size)]
    pieces[: len(model.pieces)] = [Token(piece.text, piece.type, piece.score) for piece in model.pieces]
    tokens = [*XLM_FIRST, *pieces[XLM_OWN:-1]]
    mask = len(model.pieces) + 1
    if mask < size and files.config.get("model_type") == "nomic_bert":
        tokens[mask] = MASK
    own = {token.text: i for i, token in enumerate(tokens) if token.type is not TokenType.UNUSED}
    table = TokenTable.of(files, own, n_vocab, as_declared=True, special=frozenset(files.special_texts))
    for i, added in table.added.items():
        if i >= len(tokens) or tokens[i].type not in (TokenType.CONTROL, TokenType.UNKNOWN):
            kind = TokenType.CONTROL if added.special else TokenType.USER_DEFINED
            tokens += [padding(j) for j in range(len(tokens), i + 1)]
            tokens[i] = Token(added.content, kind, tokens[i].score if added.content in own else 0.0)
    return tokens, table


def padding(token_id: int) -> Token:
    """Return the token of an id that has none."""
    return Token(f"[PAD{token_id}]", TokenType.UNUSED, PADDING_SCORE)


def _json_tokens(files: TokenizerFiles, n_vocab: int | None) -> tuple[list[Token], TokenTable]:
    """Return all tokens of a tokenizer.json by id. Of pieces with one text the last one has it."""
    assert files.tokenizer is not None
    pieces = _json_pieces(files.tokenizer["model"])
    base = {piece.text: i for i, piece in enumerate(pieces)}
    check_own_ids(base, n_vocab)
    table = TokenTable.of(files, base, n_vocab).with_twice([piece.text for piece in pieces])
    size = max([len(pieces) - 1, *table.added]) + 1 if n_vocab is None else n_vocab
    tokens = [Token(padding_text(i, table.ids), TokenType.UNUSED, PADDING_SCORE) for i in range(size)]
    for i, piece in enumerate(pieces):
        if base[piece.text] == i:
            tokens[i] = Token(piece.text, piece.type, piece.score)
    for i, token in table.added.items():
        kind = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
        kind = TokenType.UNKNOWN if tokens[i].type is TokenType.UNKNOWN else kind
        score = tokens[i].score if i < len(pieces) else 0.0
        tokens[i] = Token(token.content, kind, score)
    return tokens, table


def _json_pieces(model: Mapping[str, Any]) -> list[Piece]:
    entries, unknown = model.get("vocab"), model.get("unk_id")
    if not isinstance(entries, list) or not entries:
        raise UnknownTokenizer(
            "model.vocab of tokenizer.json is no list of texts and scores; download it again"
        )
    pieces: list[Piece] = []
    for i, entry in enumerate(entries):
        match entry:
            case [str(text), float(score) | int(score)]:
                kind = TokenType.UNKNOWN if i == unknown else TokenType.NORMAL
                pieces.append(Piece(text, float(score), kind))
            case _:
                raise UnknownTokenizer(
                    f"entry {i} of model.vocab in tokenizer.json is {str(entry)[:60]!r}, "
                    "not a text and a score; download it again"
                )
    return pieces


def _json_preparation(files: TokenizerFiles) -> Unigram:
    """Return the treatment of spaces by a tokenizer.json's normalizer and pre-tokenizer."""
    assert files.tokenizer is not None
    pre_steps = list(steps(files.tokenizer.get("pre_tokenizer"), "pretokenizers"))
    metaspace = next((step for step in pre_steps if step.get("type") == "Metaspace"), {})
    prefix = (
        metaspace.get("prepend_scheme", "always") != "never"
        and metaspace.get("add_prefix_space") is not False
    )
    splits = any(step.get("type") == "WhitespaceSplit" for step in pre_steps)
    merges = any(_merges_spaces(step) for step in steps(files.tokenizer.get("normalizer"), "normalizers"))
    return Unigram(prefix, splits or merges, precompiled_charsmap(files.tokenizer))


def _merges_spaces(step: Mapping[str, Any]) -> bool:
    pattern = step.get("pattern")
    return step.get("type") == "Replace" and isinstance(pattern, dict) and pattern.get("Regex") == " {2,}"
