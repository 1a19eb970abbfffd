"""WordPiece: llama.cpp's form of the tokens, special tokens, normalizer, and files that can't be right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import UnknownTokenizer
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.vocabulary import TokenType, Vocabulary
from tests.pico import write_json
from tests.pico_encoder_tokenizers import N_TOKENS, wordpieces, write_wordpiece_tokenizer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_wordpiece_tokenizer(tmp_path)
    return tmp_path


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = directory / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    change(tokenizer)
    write_json(path, tokenizer)
    return directory


def texts(vocabulary: Vocabulary) -> list[str]:
    return [token.text for token in vocabulary.tokens]


def test_words_are_marked_and_what_goes_on_is_not(directory: Path) -> None:
    vocabulary = read_vocabulary(directory, {}, N_TOKENS + 2)
    given = list(dict.fromkeys(wordpieces()))
    made = texts(vocabulary)
    assert made[given.index("##s")] == "s"
    assert made[given.index("capital")] == "\u2581capital"
    assert made[:2] == ["[PAD]", "[UNK]"]
    assert made[-1] == f"\u2581[PAD{N_TOKENS + 1}]"
    types = [token.type for token in vocabulary.tokens]
    assert types[:6] == [TokenType.CONTROL] * 5 + [TokenType.NORMAL]
    assert types[-1] is TokenType.UNUSED


def test_keys(directory: Path) -> None:
    keys = read_vocabulary(directory, {}, N_TOKENS).metadata()
    assert keys["tokenizer.ggml.model"].data == "bert"
    assert keys["tokenizer.ggml.normalizer.lowercase"].data is True
    assert "tokenizer.ggml.normalizer.strip_accents" not in keys
    assert "tokenizer.ggml.scores" not in keys
    assert "tokenizer.ggml.cls_token_id" not in keys  # GGUF has none: bos is it
    found = {name: keys[f"tokenizer.ggml.{name}_token_id"].data for name in ("bos", "eos", "padding", "mask")}
    assert found == {"bos": 2, "eos": 3, "padding": 0, "mask": 4}


def test_vocab_txt_with_its_class_says_the_same(directory: Path) -> None:
    expected = read_vocabulary(directory, {}, N_TOKENS)
    (directory / "tokenizer.json").unlink()
    (directory / "vocab.txt").write_text("\n".join(dict.fromkeys(wordpieces())) + "\n", encoding="utf-8")
    found = read_vocabulary(directory, {}, N_TOKENS)
    assert found.tokens == expected.tokens
    assert found.special == expected.special
    assert found.normalizer == expected.normalizer


def test_other_cases_are_kept_where_the_file_says_so(directory: Path) -> None:
    edit(directory, lambda t: t["normalizer"].update(lowercase=False, strip_accents=False))
    assert read_vocabulary(directory, {}, None).normalizer == {"lowercase": False, "strip_accents": False}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t["model"].update(continuing_subword_prefix="@@"), "by '@@'"),
        (lambda t: t["model"]["vocab"].update(x=N_TOKENS + 100), "the token id 520"),
    ],
)
def test_files_that_cant_be_right(
    directory: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(UnknownTokenizer, match=reason):
        read_vocabulary(edit(directory, change), {}, N_TOKENS)
