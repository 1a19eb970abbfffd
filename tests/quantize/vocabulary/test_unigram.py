"""Unigram models: T5's and XLM-RoBERTa's files, tokenizer.json alone, and files that can't be right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import UnknownTokenizer
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.vocabulary import TokenType
from tests.pico import write_json
from tests.pico_encoder_tokenizers import (
    N_TOKENS,
    charsmap,
    unigrams,
    write_t5_tokenizer,
    write_xlm_json,
    write_xlm_model,
)
from tests.pico_tokenizer import spm_piece, spm_settings


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_t5_tokenizer(tmp_path)
    return tmp_path


def test_t5(directory: Path) -> None:
    vocabulary = read_vocabulary(directory, {"eos_token_id": 1, "pad_token_id": 0}, N_TOKENS)
    tokens = vocabulary.tokens
    assert [token.type for token in tokens[:3]] == [TokenType.CONTROL, TokenType.CONTROL, TokenType.UNKNOWN]
    assert (tokens[3].text, tokens[3].score) == (unigrams()[0][0], unigrams()[0][1])
    assert (tokens[416].text, tokens[416].type) == ("{", TokenType.USER_DEFINED)
    assert tokens[419].type is TokenType.UNUSED
    keys = vocabulary.metadata()
    assert keys["tokenizer.ggml.model"].data == "t5"
    assert keys["tokenizer.ggml.precompiled_charsmap"].data == charsmap()
    assert keys["tokenizer.ggml.add_space_prefix"].data is True
    assert keys["tokenizer.ggml.remove_extra_whitespaces"].data is True
    assert vocabulary.special.ids == {"eos": 1, "pad": 0}


def test_a_t5_tokenizer_model_is_a_unigram_model_too(directory: Path) -> None:
    expected = read_vocabulary(directory, {}, N_TOKENS)
    (directory / "spiece.model").rename(directory / "tokenizer.model")
    assert read_vocabulary(directory, {"model_type": "t5"}, N_TOKENS) == expected
    assert read_vocabulary(directory, {"model_type": "llama"}, N_TOKENS).model == "llama"


def test_xlm_robertas_ids_are_one_later(directory: Path) -> None:
    n_pieces = len(unigrams()) + 3
    write_xlm_model(directory)
    tokens = read_vocabulary(directory, {}, n_pieces + 2).tokens
    assert [token.text for token in tokens[:5]] == ["<s>", "<pad>", "</s>", "<unk>", unigrams()[0][0]]
    assert len(tokens) == n_pieces + 2
    assert tokens[-1].type is TokenType.UNUSED
    nomic = read_vocabulary(directory, {"model_type": "nomic_bert"}, n_pieces + 2).tokens
    assert (nomic[-1].text, nomic[-1].type) == ("<mask>", TokenType.CONTROL)


def test_tokenizer_json_says_what_the_model_says(directory: Path) -> None:
    n_pieces = len(unigrams()) + 3
    write_xlm_json(directory)
    found = read_vocabulary(directory, {}, n_pieces + 2)
    (directory / "tokenizer.json").rename(directory / "kept.json")
    write_t5_tokenizer(directory)
    write_xlm_model(directory)
    of_model = read_vocabulary(directory, {}, n_pieces + 2)
    assert [t.text for t in found.tokens[:-1]] == [t.text for t in of_model.tokens[:-1]]
    assert [t.score for t in found.tokens[:-1]] == pytest.approx([t.score for t in of_model.tokens[:-1]])
    assert [t.type for t in found.tokens[:-1]] == [t.type for t in of_model.tokens[:-1]]
    assert found.tokens[-1].text == "<mask>"
    assert found.unigram == of_model.unigram
    assert found.special.ids["mask"] == n_pieces + 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t["model"].update(vocab=[]), "no list of texts and scores"),
        (lambda t: t["model"].update(vocab=[["a", "b"]]), "entry 0 of model.vocab"),
        (lambda t: t["normalizer"].update(precompiled_charsmap="?"), "isn't base64"),
        (lambda t: t["model"]["vocab"].extend([[f"x{i}", 0.0] for i in range(900)]), "token id"),
    ],
)
def test_files_that_cant_be_right(
    directory: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    write_xlm_json(directory)
    path = directory / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    change(tokenizer)
    write_json(path, tokenizer)
    with pytest.raises(UnknownTokenizer, match=reason):
        read_vocabulary(directory, {}, N_TOKENS)


def test_a_bpe_in_a_unigram_models_place(directory: Path) -> None:
    (directory / "spiece.model").write_bytes(spm_piece("a", 0.0, 1) + spm_settings(model_type=2))
    with pytest.raises(UnknownTokenizer, match="is a SentencePiece BPE"):
        read_vocabulary(directory, {}, N_TOKENS)


def test_a_damaged_model(directory: Path) -> None:
    (directory / "spiece.model").write_bytes(spm_piece("a", 0.0, 1) + b"\x12\x05\x18")
    with pytest.raises(UnknownTokenizer, match=r"spiece\.model isn't a SentencePiece model"):
        read_vocabulary(directory, {}, N_TOKENS)
