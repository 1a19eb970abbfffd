"""SentencePiece's model files, and the tokens of a tokenizer.model.

Of the protobuf little is needed, so it is read here: bounded, without native code, and with the fields that
the sentencepiece package doesn't offer.
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.errors import UnknownTokenizer
from quantize.checkpoint.json_file import read_bounded
from quantize.vocabulary.added_tokens import COMMON, AddedTokenRules
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.special_tokens import special_tokens
from quantize.vocabulary.token_table import TokenTable, padding_text
from quantize.vocabulary.vocabulary import Token, TokenType, Unigram, Vocabulary

FILE_NAME: Final = "tokenizer.model"
PADDING_SCORE: Final = -10000.0
"""The score of tokens that fill up the embedding."""

PIECE_TYPES: Final = {number: TokenType(number) for number in range(1, 7)} | {4: TokenType.NORMAL}
"""The types of pieces by number; a user-defined piece counts as normal, as in llama.cpp's converter."""

ROLE_FIELDS: Final = {"unk": (40, 0), "bos": (41, 1), "eos": (42, 2), "pad": (43, 2**63)}
"""The fields of a TrainerSpec that hold tokens' ids, and their defaults; those it lacks are negative."""

UNIGRAM: Final = 1
"""The TrainerSpec.ModelType of a unigram model, which is the default."""

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
"""The wire types of protobuf."""

CHATGLM_MODEL_TYPE: Final = "chatglm"
"""The `model_type` of config.json that means ChatGLM3's vocabulary."""

_CHATGLM3_FIRST: Final = ("<unk>", "<bos>", "<eos>")
"""The names that ChatGLM3's code has for the first three pieces."""

_CHATGLM3_LAST: Final = (
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "sop",
    "eop",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
)
"""The tokens that ChatGLM3's code adds after the pieces.

Source: https://huggingface.co/THUDM/chatglm3-6b/blob/main/tokenization_chatglm.py.
"""


@dataclass(frozen=True)
class Piece:
    """One entry of the model."""

    text: str
    score: float
    type: TokenType


@dataclass(frozen=True)
class SentencePieceModel:
    """A model file.

    With `is_unigram` tokens are chosen by the sum of their scores, else merged by it (BPE). `roles` are the
    ids of unk, bos, eos and pad, as far as it has them.
    """

    pieces: tuple[Piece, ...]
    is_unigram: bool
    preparation: Unigram
    roles: Mapping[str, int] = field(default_factory=dict)


def piece_table(files: TokenizerFiles, pieces: Sequence[Piece], n_vocab: int | None) -> TokenTable:
    """Return the texts and ids of pieces and added tokens. Raises UnknownTokenizer: malformed files.

    Of pieces with one text the last one has it, as in transformers. Pieces from `n_vocab` on are left out.
    """
    size = len(pieces) if n_vocab is None else n_vocab
    base = {piece.text: i for i, piece in enumerate(pieces[:size])}
    special = {piece.text for piece in pieces if piece.type in (TokenType.CONTROL, TokenType.UNKNOWN)}
    table = TokenTable.of(files, base, n_vocab, as_declared=True, special=special)
    return table.with_twice([piece.text for piece in pieces[:size]])


def piece_tokens(
    table: TokenTable, pieces: Sequence[Piece], n_vocab: int | None, rules: AddedTokenRules = COMMON
) -> list[Token]:
    """Return all tokens by id: the pieces, replaced by added tokens, `[PAD0]` … where there is none.

    `n_vocab` is the number of rows of the embedding; ids from there on are left out.
    """
    size = max([len(pieces) - 1, *table.added]) + 1 if n_vocab is None else n_vocab
    texts = [piece.text for piece in pieces]
    tokens = [Token(padding_text(i, table.ids), TokenType.UNUSED, PADDING_SCORE) for i in range(size)]
    for i, piece in enumerate(pieces[:size]):
        if table.ids.get(piece.text, i) == i:
            tokens[i] = rules.piece(Token(texts[i], piece.type, piece.score))
    for i, added in table.added.items():
        own = tokens[i].type if i < len(texts) and texts[i] == added.content else None
        if own is not TokenType.BYTE:
            kept = own in (TokenType.CONTROL, TokenType.UNKNOWN) and not added.special
            tokens[i] = tokens[i] if kept else rules.token(added)
    return tokens


def chatglm3_vocabulary(files: TokenizerFiles, n_vocab: int | None) -> Vocabulary:
    """Return ChatGLM3's vocabulary: pieces, special tokens that only its makers' code knows, `[PAD…]`.

    Raises UnknownTokenizer: more of them than `n_vocab`.
    """
    pieces = parse_pieces(read_bounded(files.directory / FILE_NAME))
    texts = [*_CHATGLM3_FIRST, *(piece.text for piece in pieces[len(_CHATGLM3_FIRST) :])]
    tokens = [Token(text, piece.type, piece.score) for text, piece in zip(texts, pieces, strict=False)]
    tokens += [Token(text, TokenType.CONTROL) for text in _CHATGLM3_LAST]
    size = len(tokens) if n_vocab is None else n_vocab
    if len(tokens) > size:
        raise UnknownTokenizer(
            f"{FILE_NAME} and the special tokens of ChatGLM3 are {len(tokens)} tokens, the embedding has "
            f"{size}; the two don't belong together: download the checkpoint again"
        )
    tokens += [Token(f"[PAD{i}]", TokenType.UNUSED) for i in range(len(tokens), size)]
    table = TokenTable({token.text: i for i, token in enumerate(tokens)})
    special = special_tokens(files, table, size, "llama")
    return Vocabulary("llama", "chatglm-spm", tokens, special=special, table=table)


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Return the model in a file.

    Raises UnknownTokenizer when it isn't one, CheckpointError: it can't be read.
    """
    data = read_bounded(path)
    pieces = tuple(parse_pieces(data, path.name))
    try:
        trainer, normalizer = _message(data, 2), _message(data, 3)
        kind = _number(trainer, 3, UNIGRAM)
        charsmap = next((value for n, wire, value in normalizer if (n, wire) == (2, LENGTH_DELIMITED)), b"")
        prefix, merged = _number(normalizer, 3, 1) != 0, _number(normalizer, 4, 1) != 0
        places = {role: _number(trainer, number, default) for role, (number, default) in ROLE_FIELDS.items()}
    except (ValueError, struct.error) as error:
        raise UnknownTokenizer(
            f"{path.name} isn't a SentencePiece model ({error}); download it again"
        ) from error
    roles = {role: place for role, place in places.items() if place < len(pieces)}
    return SentencePieceModel(pieces, kind == UNIGRAM, Unigram(prefix, merged, charsmap), roles)


def parse_pieces(data: bytes, file_name: str = FILE_NAME) -> list[Piece]:
    """Return the pieces of a serialized ModelProto, in order. Raises UnknownTokenizer when it isn't one."""
    try:
        pieces = [
            _piece(value) for number, wire, value in _fields(data) if (number, wire) == (1, LENGTH_DELIMITED)
        ]
    except (ValueError, struct.error) as error:
        raise UnknownTokenizer(
            f"{file_name} isn't a SentencePiece model ({error}); download it again"
        ) from error
    if not pieces:
        raise UnknownTokenizer(
            f"{file_name} holds no pieces, so it isn't a SentencePiece model; download it again"
        )
    return pieces


def _message(data: bytes, number: int) -> list[tuple[int, int, bytes]]:
    """Return the fields of the messages with that number in a message."""
    return [
        field
        for n, wire, value in _fields(data)
        if (n, wire) == (number, LENGTH_DELIMITED)
        for field in _fields(value)
    ]


def _number(fields: Sequence[tuple[int, int, bytes]], number: int, default: int) -> int:
    values = [value for n, wire, value in fields if (n, wire) == (number, VARINT)]
    return int.from_bytes(values[-1], "little") if values else default


def _piece(data: bytes) -> Piece:
    text, score, kind = "", 0.0, 1
    for number, wire, value in _fields(data):
        match number, wire:
            case 1, 2:
                text = value.decode("utf-8")
            case 2, 5:
                (score,) = struct.unpack("<f", value)
            case 3, 0:
                kind = int.from_bytes(value, "little")
    if kind not in PIECE_TYPES:
        raise ValueError(f"a piece has the type {kind}")
    return Piece(text, score, PIECE_TYPES[kind])


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, wire type and raw value (varints as little-endian bytes) of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, wire, value.to_bytes(10, "little")
            continue
        if wire == LENGTH_DELIMITED:
            size, at = _varint(data, at)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if size > len(data) - at:
            raise ValueError(f"a field of {size} bytes where {len(data) - at} are left")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 10 bytes")
