"""tokenizer.json: byte-level BPE with its merges, WordPiece in llama.cpp's form, and damaged files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import CheckpointError, UnknownTokenizer
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.tokenizer_json import read_merges
from quantize.vocabulary.vocabulary import TokenType, Vocabulary
from tests.pico import write_json
from tests.pico_encoder_tokenizers import N_TOKENS, wordpieces, write_wordpiece_tokenizer
from tests.pico_tokenizer import N_MERGES, write_bpe_tokenizer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_bpe_tokenizer(tmp_path)
    return tmp_path


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = directory / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    change(tokenizer)
    write_json(path, tokenizer)
    return directory


def test_token_types(directory: Path) -> None:
    vocabulary = read_vocabulary(directory, {}, 415)
    by_text = {token.text: token.type for token in vocabulary.tokens}
    assert by_text["!"] is TokenType.NORMAL
    assert by_text["<|im_start|>"] is TokenType.CONTROL
    assert by_text["<think>"] is TokenType.USER_DEFINED
    assert by_text["[PAD412]"] is TokenType.UNUSED
    assert len(vocabulary.tokens) == 415
    assert vocabulary.pre == "qwen2"
    assert vocabulary.special.ids["bos"] == 406
    assert vocabulary.chat_template is not None


def test_a_token_only_in_tokenizer_config(directory: Path) -> None:
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["added_tokens_decoder"]["410"] = {"content": "<extra>", "special": True}
    write_json(path, config)
    assert read_vocabulary(directory, {}, 415).tokens[410].type is TokenType.CONTROL


def test_without_an_embedding_the_vocabulary_is_not_padded(directory: Path) -> None:
    assert len(read_vocabulary(directory, {}, None).tokens) == 410


def test_merges_as_pairs_and_as_strings(directory: Path) -> None:
    strings = read_merges(TokenizerFiles.read(directory, {}))
    assert len(strings) == N_MERGES
    edit(directory, lambda t: t["model"].update(merges=[merge.split(" ") for merge in strings]))
    assert read_merges(TokenizerFiles.read(directory, {})) == strings
    edit(directory, lambda t: t["model"].update(merges=[["a b", "c"]]))
    assert read_merges(TokenizerFiles.read(directory, {})) == ["a\u0120b c"]


def test_merges_from_merges_txt(directory: Path) -> None:
    edit(directory, lambda t: t["model"].pop("merges"))
    with pytest.raises(UnknownTokenizer, match=r"merges\.txt"):
        read_merges(TokenizerFiles.read(directory, {}))
    (directory / "merges.txt").write_text("#version: 0.2\na b\n\nab c\n", encoding="utf-8")
    assert read_merges(TokenizerFiles.read(directory, {})) == ["a b", "ab c"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t["model"].pop("vocab"), "no model.vocab"),
        (lambda t: t["model"].update(vocab=[["a", 0.0]]), "no model.vocab"),
        (lambda t: t["model"]["vocab"].update(x=-1), "no natural number"),
        (lambda t: t["model"]["vocab"].update(x=0), "two tokens with the id 0"),
        (lambda t: t["model"]["vocab"].update(x=5000), "token id 5000"),
        (lambda t: t["model"].update(merges=[1]), "neither strings nor pairs"),
        (lambda t: t["model"].update(type="WordLevel"), "of the kind WordLevel"),
        (lambda t: t.update(model=3), "of the kind None"),
        (lambda t: t.update(added_tokens=3), "isn't a list"),
        (lambda t: t.update(added_tokens=[{"content": "x"}]), "no usable id"),
        (lambda t: t.update(added_tokens=[{"id": 2}]), "no content"),
        (lambda t: t.update(decoder=None, pre_tokenizer=None), "over characters"),
    ],
)
def test_files_that_cant_be_right(
    directory: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    edit(directory, change)
    with pytest.raises(UnknownTokenizer, match=reason):
        read_vocabulary(directory, {}, 415)


def test_no_tokenizer_at_all(tmp_path: Path) -> None:
    with pytest.raises(UnknownTokenizer, match="neither"):
        read_vocabulary(tmp_path, {}, 10)


def test_a_template_that_is_no_text(directory: Path) -> None:
    edit_config = directory / "tokenizer_config.json"
    config = json.loads(edit_config.read_text(encoding="utf-8"))
    del config["chat_template"]
    write_json(edit_config, config)
    assert read_vocabulary(directory, {}, None).chat_template is None
    (directory / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="UTF-8"):
        read_vocabulary(directory, {}, None)


@pytest.fixture
def wordpieces_only(tmp_path: Path) -> Path:
    write_wordpiece_tokenizer(tmp_path)
    return tmp_path


def texts(vocabulary: Vocabulary) -> list[str]:
    return [token.text for token in vocabulary.tokens]


def test_words_are_marked_and_what_goes_on_is_not(wordpieces_only: Path) -> None:
    vocabulary = read_vocabulary(wordpieces_only, {}, N_TOKENS + 2)
    given = list(dict.fromkeys(wordpieces()))
    made = texts(vocabulary)
    assert made[given.index("##s")] == "s"
    assert made[given.index("capital")] == "\u2581capital"
    assert made[:2] == ["[PAD]", "[UNK]"]
    assert made[-1] == f"\u2581[PAD{N_TOKENS + 1}]"
    types = [token.type for token in vocabulary.tokens]
    assert types[:6] == [TokenType.CONTROL] * 5 + [TokenType.NORMAL]
    assert types[-1] is TokenType.UNUSED


def test_keys(wordpieces_only: Path) -> None:
    keys = read_vocabulary(wordpieces_only, {}, N_TOKENS).metadata()
    assert keys["tokenizer.ggml.model"].data == "bert"
    assert keys["tokenizer.ggml.normalizer.lowercase"].data is True
    assert "tokenizer.ggml.normalizer.strip_accents" not in keys
    assert "tokenizer.ggml.scores" not in keys
    assert "tokenizer.ggml.cls_token_id" not in keys  # GGUF has none: bos is it
    found = {name: keys[f"tokenizer.ggml.{name}_token_id"].data for name in ("bos", "eos", "padding", "mask")}
    assert found == {"bos": 2, "eos": 3, "padding": 0, "mask": 4}


def test_vocab_txt_with_its_class_says_the_same(wordpieces_only: Path) -> None:
    expected = read_vocabulary(wordpieces_only, {}, N_TOKENS)
    (wordpieces_only / "tokenizer.json").unlink()
    (wordpieces_only / "vocab.txt").write_text(
        "\n".join(dict.fromkeys(wordpieces())) + "\n", encoding="utf-8"
    )
    found = read_vocabulary(wordpieces_only, {}, N_TOKENS)
    assert found.tokens == expected.tokens
    assert found.special == expected.special
    assert found.normalizer == expected.normalizer


def test_other_cases_are_kept_where_the_file_says_so(wordpieces_only: Path) -> None:
    edit(wordpieces_only, lambda t: t["normalizer"].update(lowercase=False, strip_accents=False))
    assert read_vocabulary(wordpieces_only, {}, None).normalizer == {
        "lowercase": False,
        "strip_accents": False,
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t["model"].update(continuing_subword_prefix="@@"), "by '@@'"),
        (lambda t: t["model"]["vocab"].update(x=N_TOKENS + 100), "the token id 520"),
    ],
)
def test_wordpieces_that_cant_be_right(
    wordpieces_only: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(UnknownTokenizer, match=reason):
        read_vocabulary(edit(wordpieces_only, change), {}, N_TOKENS)
