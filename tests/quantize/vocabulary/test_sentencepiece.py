"""tokenizer.model: pieces, added tokens in their places, padding, damaged files; ChatGLM3's own tokens."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from models.errors import UnknownTokenizer
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.sentencepiece import parse_pieces, piece_table, piece_tokens, read_sentencepiece
from quantize.vocabulary.vocabulary import Token, TokenType
from tests.pico import write_json
from tests.pico_tokenizer import write_spm_tokenizer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_spm_tokenizer(tmp_path)
    return tmp_path


def tokens_of(directory: Path, n_vocab: int) -> list[Token]:
    files = TokenizerFiles.read(directory, {})
    pieces = read_sentencepiece(directory / "tokenizer.model").pieces
    return piece_tokens(piece_table(files, pieces, n_vocab), pieces, n_vocab)


def without_decoder(directory: Path) -> None:
    settings = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    del settings["added_tokens_decoder"]
    write_json(directory / "tokenizer_config.json", settings)


def test_pieces(directory: Path) -> None:
    pieces = parse_pieces((directory / "tokenizer.model").read_bytes())
    assert [piece.type for piece in pieces[:3]] == [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    assert pieces[3].text == "<0x00>"
    assert pieces[3].type is TokenType.BYTE
    assert pieces[260].text.isprintable()
    assert pieces[260].score == -1.0


def test_added_tokens_and_padding(directory: Path) -> None:
    n_pieces = len(parse_pieces((directory / "tokenizer.model").read_bytes()))
    vocabulary = read_vocabulary(directory, {"bos_token_id": 1, "eos_token_id": 2}, n_pieces + 5)
    start, end, padding = vocabulary.tokens[n_pieces : n_pieces + 3]
    assert (start.text, start.type, start.score) == ("<|im_start|>", TokenType.CONTROL, -1000.0)
    assert end.type is TokenType.CONTROL  # not marked special, but it looks so
    assert (padding.text, padding.type, padding.score) == (f"[PAD{n_pieces + 2}]", TokenType.UNUSED, -10000.0)
    assert vocabulary.model == "llama"
    assert vocabulary.special.ids == {"bos": 1, "eos": 2}
    assert vocabulary.special.add == {"bos": True, "eos": False}


def test_tokens_beyond_the_embedding_are_left_out(directory: Path) -> None:
    assert len(tokens_of(directory, 100)) == 100


def test_an_added_token_is_user_defined_where_nothing_marks_it(directory: Path) -> None:
    without_decoder(directory)
    write_json(directory / "added_tokens.json", {"hello": 5})
    tokens = tokens_of(directory, 10)
    assert (tokens[5].text, tokens[5].type) == ("hello", TokenType.USER_DEFINED)


def test_added_tokens_that_are_pieces_keep_their_kinds(directory: Path) -> None:
    without_decoder(directory)
    names = {"<unk>": 0, "<s>": 1, "</s>": 2, "<0x0A>": 13, "\u2581the": 459}
    write_json(directory / "added_tokens.json", names)
    tokens = tokens_of(directory, 461)
    place = next(i for i, token in enumerate(tokens) if token.text == " the")
    assert place < 459, "the piece keeps its id, whatever the file says"
    kinds = [tokens[i].type for i in (0, 1, 2, 13, place, 459)]
    assert kinds == [
        TokenType.CONTROL,
        TokenType.CONTROL,
        TokenType.CONTROL,
        TokenType.BYTE,
        TokenType.USER_DEFINED,
        TokenType.UNUSED,
    ]


@pytest.mark.parametrize("token_id", ["5", -1, 2.5, True])
def test_added_tokens_without_usable_ids(directory: Path, token_id: object) -> None:
    without_decoder(directory)
    write_json(directory / "added_tokens.json", {"hello": token_id})
    with pytest.raises(UnknownTokenizer, match=r"added_tokens\.json gives 'hello'"):
        tokens_of(directory, 10)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xff" * 20,
        b"\x0a\x02\x18\x63",
        b"\x0a\x03\x0a\x01\xff",
        b"\x0b",
    ],
)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(UnknownTokenizer, match=r"tokenizer\.model"):
        parse_pieces(data)


def test_damage_is_an_error_or_other_pieces_but_nothing_else(directory: Path) -> None:
    good = (directory / "tokenizer.model").read_bytes()
    chance = random.Random(1)
    refused = 0
    for _ in range(300):
        data = bytearray(good[: chance.randrange(len(good))])
        for _ in range(3):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            parse_pieces(bytes(data))
        except UnknownTokenizer:
            refused += 1
    assert refused > 200


CONFIG = {"model_type": "chatglm", "eos_token_id": 2, "pad_token_id": 0}


@pytest.fixture
def chatglm3(tmp_path: Path) -> Path:
    write_spm_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    return tmp_path


def test_chatglm3_tokens(chatglm3: Path) -> None:
    n_pieces = len(parse_pieces((chatglm3 / "tokenizer.model").read_bytes()))
    vocabulary = read_vocabulary(chatglm3, CONFIG, n_pieces + 12)
    texts = [token.text for token in vocabulary.tokens]
    assert texts[:4] == ["<unk>", "<bos>", "<eos>", "<0x00>"]
    assert texts[n_pieces : n_pieces + 2] == ["[MASK]", "[gMASK]"]
    assert texts[-4:] == ["<|observation|>", *(f"[PAD{n_pieces + i}]" for i in (9, 10, 11))]
    assert vocabulary.tokens[n_pieces + 1].type is TokenType.CONTROL
    assert vocabulary.tokens[-1].type is TokenType.UNUSED
    assert vocabulary.tokens[260].score == -1.0
    assert (vocabulary.model, vocabulary.pre) == ("llama", "chatglm-spm")
    assert vocabulary.special.ids == {"eos": 2, "pad": 0}


def test_chatglm3_an_embedding_that_is_too_small(chatglm3: Path) -> None:
    with pytest.raises(UnknownTokenizer, match="don't belong together"):
        read_vocabulary(chatglm3, CONFIG, 400)
