"""tokenizer.model (SentencePiece) → vocabulary.

Of the protobuf only `pieces` is needed, so it is read here: bounded, without native code, and later also the
fields that the sentencepiece package doesn't offer.
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import UnknownTokenizer
from quantize.checkpoint.json_file import optional_json_object, read_bounded
from quantize.vocabulary.files import TokenizerFiles, looks_special
from quantize.vocabulary.vocabulary import Token, TokenType

FILE_NAME = "tokenizer.model"
ADDED_SCORE = -1000.0
PADDING_SCORE = -10000.0

# Numbered as llama.cpp's own; only that a user-defined piece counts as normal, as in its converter.
PIECE_TYPES = {number: TokenType(number) for number in range(1, 7)} | {4: TokenType.NORMAL}

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Piece:
    """One entry of the model."""

    text: str
    score: float
    type: TokenType


def sentencepiece_tokens(files: TokenizerFiles, n_vocab: int | None) -> list[Token]:
    """All tokens by id: the pieces, over them added tokens, `[PAD0]` … where nothing is.

    `n_vocab`: rows of the embedding; ids from there on are left out. Raises UnknownTokenizer.
    """
    pieces = parse_pieces(read_bounded(files.directory / FILE_NAME))
    size = len(pieces) if n_vocab is None else n_vocab
    tokens = [Token(f"[PAD{i}]", TokenType.UNUSED, PADDING_SCORE) for i in range(size)]
    for i, piece in enumerate(pieces[:size]):
        tokens[i] = Token(piece.text, piece.type, piece.score)
    for text, token_id in (optional_json_object(files.directory / "added_tokens.json") or {}).items():
        if type(token_id) is not int or token_id < 0:
            raise UnknownTokenizer(f"added_tokens.json gives {text!r} the id {token_id!r}; download it again")
        if token_id < size:
            tokens[token_id] = Token(text, TokenType.USER_DEFINED, ADDED_SCORE)
    for added in files.added_in_config():
        if added.id >= size:
            continue
        if added.special or looks_special(added.content):
            tokens[added.id] = Token(added.content, TokenType.CONTROL, ADDED_SCORE)
        else:
            text = added.content.replace("\u2581", " ")
            tokens[added.id] = Token(text, TokenType.USER_DEFINED, ADDED_SCORE)
    return tokens


def parse_pieces(data: bytes) -> list[Piece]:
    """The pieces of a serialized ModelProto, in order. Raises UnknownTokenizer when it isn't one."""
    try:
        pieces = [
            _piece(value) for number, wire, value in _fields(data) if (number, wire) == (1, LENGTH_DELIMITED)
        ]
    except (ValueError, struct.error) as error:
        raise UnknownTokenizer(
            f"{FILE_NAME} isn't a SentencePiece model ({error}); download it again"
        ) from error
    if not pieces:
        raise UnknownTokenizer(
            f"{FILE_NAME} holds no pieces, so it isn't a SentencePiece model; download it again"
        )
    return pieces


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
    """Field number, wire type and raw value (varints as little-endian bytes) of each field of a message."""
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
