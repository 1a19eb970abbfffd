"""vocab.json with merges.txt: read like a tokenizer.json where the class says how text is split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import UnknownTokenizer
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.vocabulary import TokenType
from tests.pico import write_json
from tests.pico_tokenizer import N_MERGES, write_bpe_tokenizer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_bpe_tokenizer(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"] | {e["content"]: e["id"] for e in tokenizer["added_tokens"]}
    write_json(tmp_path / "vocab.json", vocabulary)
    merges = "\n".join(["#version: 0.2", *tokenizer["model"]["merges"]])
    (tmp_path / "merges.txt").write_text(merges + "\n", encoding="utf-8")
    (tmp_path / "tokenizer.json").unlink()
    return tmp_path


def with_class(directory: Path, name: str, **more: object) -> Path:
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": name, **more})
    return directory


@pytest.mark.parametrize(
    ("name", "pre"),
    [("GPT2Tokenizer", "gpt-2"), ("Qwen2Tokenizer", "qwen2"), ("CodeGenTokenizerFast", "gpt-2")],
)
def test_the_class_says_how_text_is_split(directory: Path, name: str, pre: str) -> None:
    vocabulary = read_vocabulary(with_class(directory, name), {}, 412)
    assert vocabulary.pre == pre
    assert len(vocabulary.merges) == N_MERGES
    assert vocabulary.tokens[406].type is TokenType.CONTROL


def test_robertas_class_adds_bos_and_eos(directory: Path) -> None:
    names = {"bos_token": "<|im_start|>", "cls_token": "<|im_start|>", "sep_token": "<|im_end|>"}
    vocabulary = read_vocabulary(with_class(directory, "RobertaTokenizer", **names), {}, 412)
    assert vocabulary.special.add == {"bos": True, "eos": True, "sep": True}
    assert vocabulary.special.ids["cls"] == 407
    assert vocabulary.special.ids["sep"] == 408


def test_added_tokens_json_that_lists_base_tokens_again(directory: Path) -> None:
    write_json(directory / "added_tokens.json", {"!": 411, "<extra>": 410})
    vocabulary = read_vocabulary(with_class(directory, "GPT2Tokenizer"), {}, 412)
    assert [vocabulary.tokens[i].text for i in (0, 410, 411)] == ["!", "<extra>", "[PAD411]"]
    assert [vocabulary.tokens[i].type for i in (0, 410)] == [TokenType.USER_DEFINED] * 2


def test_lines_of_vocab_txt_end_as_in_text_files(tmp_path: Path) -> None:
    """Other line ends are tokens of multilingual vocabularies; the last of two lines has the text."""
    lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2028", "twice", "twice", "\x85"]
    (tmp_path / "vocab.txt").write_bytes("\r\n".join([*lines, ""]).encode())
    found = read_vocabulary(with_class(tmp_path, "BertTokenizer"), {}, 10)
    assert [token.text for token in found.tokens[5:]] == [
        "\u2581\u2028",
        "\u2581[PAD6]",
        "\u2581twice",
        "\u2581\x85",
        "\u2581[PAD9]",
    ]
    assert found.tokens[6].type is TokenType.UNUSED


def test_other_classes_are_refused(directory: Path) -> None:
    with pytest.raises(UnknownTokenizer, match="don't say how LlamaTokenizer splits"):
        read_vocabulary(with_class(directory, "LlamaTokenizer"), {}, 412)


def test_a_bpe_over_characters_between_spaces(tmp_path: Path) -> None:
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
    write_json(tmp_path / "tokenizer.json", {"model": model, "pre_tokenizer": {"type": "Whitespace"}})
    vocabulary = read_vocabulary(tmp_path, {}, 3)
    assert (vocabulary.model, vocabulary.pre, vocabulary.merges) == ("whitespace", "whitespace", ["a b"])
