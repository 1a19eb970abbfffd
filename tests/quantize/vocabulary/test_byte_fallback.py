"""Llama's tokenizer as tokenizer.json alone splits text as its tokenizer.model does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from models.errors import UnknownTokenizer
from models.llamacpp.model import Model
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.sentencepiece import Piece, parse_pieces
from quantize.vocabulary.vocabulary import TokenType
from tests.pico import write_json, write_pico_checkpoint
from tests.pico_tokenizer import TEXT
from tests.quantize.quantize_folder import quantize_folder

TEXTS = [TEXT, "hello", " the cat  and the dog", "Zürich 123, naïve!\n\tx", "answerssentence", "the the the"]


def as_tokenizer_json(pieces: list[Piece]) -> dict[str, Any]:
    """Convert a tokenizer.model as transformers does: every way to make a piece of two, best score first."""
    ids = {piece.text: i for i, piece in enumerate(pieces)}
    merges: list[tuple[float, str]] = []
    for piece in pieces:
        if piece.type is TokenType.NORMAL:
            for cut in range(1, len(piece.text)):
                left, right = piece.text[:cut], piece.text[cut:]
                if left in ids and right in ids:
                    merges.append((-piece.score, f"{left} {right}"))
    merges.sort(key=lambda merge: merge[0])
    added = [{"id": i, "content": pieces[i].text, "special": True} for i in range(3)]
    added.append({"id": len(pieces), "content": "<extra>", "special": False})
    return {
        "added_tokens": added,
        "normalizer": {"type": "Prepend", "prepend": "\u2581"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": ids,
            "merges": [text for _, text in merges],
        },
    }


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the same checkpoint with tokenizer.model, and with tokenizer.json."""
    root = tmp_path_factory.mktemp("fallback")
    spm = write_pico_checkpoint(root / "spm", tokenizer="spm", n_layers=1)
    converted = write_pico_checkpoint(root / "json", tokenizer="spm", n_layers=1)
    pieces = parse_pieces((converted / "tokenizer.model").read_bytes())
    write_json(converted / "tokenizer.json", as_tokenizer_json(pieces))
    (converted / "tokenizer.model").unlink()
    (converted / "added_tokens.json").unlink()
    config = json.loads((converted / "tokenizer_config.json").read_text(encoding="utf-8"))
    del config["added_tokens_decoder"]
    write_json(converted / "tokenizer_config.json", config)
    return spm, converted


def test_types_and_scores(directories: tuple[Path, Path]) -> None:
    _, converted = directories
    vocabulary = read_vocabulary(converted, {}, 470)
    tokens = vocabulary.tokens
    assert vocabulary.model == "llama"
    assert [token.type for token in tokens[:4]] == [TokenType.CONTROL] * 3 + [TokenType.BYTE]
    scores = [token.score for token in tokens[259 : 259 + 100]]
    assert scores == sorted(scores, reverse=True)
    added = next(token for token in tokens if token.text == "<extra>")
    assert added.type is TokenType.USER_DEFINED
    assert tokens[-1].type is TokenType.UNUSED
    assert len(tokens) == 470
    assert vocabulary.special.add == {"bos": True, "eos": False}


def test_own_tokens_that_are_listed_as_added_again(directories: tuple[Path, Path], tmp_path: Path) -> None:
    """As in Gemma's files: texts are matched whole then, but runs of spaces are merged."""
    copy = shutil.copytree(directories[1], tmp_path / "copy")
    path = copy / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    word = next(text for text in tokenizer["model"]["vocab"] if text.isalpha() and len(text) > 1)
    texts = [word, "\u2581the", "<0x0A>"]
    ids = [tokenizer["model"]["vocab"][text] for text in texts]
    tokenizer["added_tokens"] += [
        {"id": i, "content": text, "special": False} for i, text in zip(ids, texts, strict=True)
    ]
    write_json(path, tokenizer)
    tokens = read_vocabulary(copy, {}, 470).tokens
    assert [tokens[i].text for i in ids] == texts
    kinds = [TokenType.USER_DEFINED, TokenType.NORMAL, TokenType.BYTE]
    assert [tokens[i].type for i in ids] == kinds


@pytest.mark.model
def test_text_is_split_as_by_the_model_file(directories: tuple[Path, Path], tmp_path: Path) -> None:
    splits: list[list[list[int]]] = []
    for directory in directories:
        (file,) = quantize_folder(directory, ["Q8_0"], tmp_path)
        with Model.load(file.path, vocab_only=True) as model:
            splits.append([model.vocab.tokenize(t, add_special=True, parse_special=False) for t in TEXTS])
    assert splits[0] == splits[1]
    assert len(splits[0][0]) < len(TEXT) / 2


def test_an_id_beyond_the_embedding(directories: tuple[Path, Path]) -> None:
    with pytest.raises(UnknownTokenizer, match="vocab_size is 100"):
        read_vocabulary(directories[1], {}, 100)
