"""tiktoken's files: merges found again, special tokens by family, damaged and unknown files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from models.errors import UnknownTokenizer
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.tiktoken import is_tiktoken, merges_of, read_ranks
from quantize.vocabulary.tokenizer_json import read_merges
from quantize.vocabulary.vocabulary import TokenType
from tests.pico import write_json
from tests.pico_tokenizer import byte_characters, write_bpe_tokenizer

N_RANKS = 406


@pytest.fixture
def merges(tmp_path: Path) -> list[str]:
    """Return the merges of the pico tokenizer, whose tokens are written to qwen.tiktoken."""
    (tmp_path / "bpe").mkdir()
    write_bpe_tokenizer(tmp_path / "bpe")
    files = TokenizerFiles.read(tmp_path / "bpe", {})
    assert files.tokenizer is not None
    bytes_of = {character: byte for byte, character in enumerate(byte_characters())}
    lines = [
        base64.b64encode(bytes(bytes_of[c] for c in token)).decode() + f" {rank}"
        for token, rank in files.tokenizer["model"]["vocab"].items()
    ]
    (tmp_path / "qwen.tiktoken").write_text("\n".join(lines) + "\n", encoding="ascii")
    return read_merges(files)


def test_merges_are_found_again(tmp_path: Path, merges: list[str]) -> None:
    vocabulary = read_vocabulary(tmp_path, {}, None)
    assert vocabulary.merges == merges
    assert (vocabulary.model, vocabulary.pre) == ("gpt2", "qwen2")
    assert vocabulary.tokens[N_RANKS].text == "<|endoftext|>"
    assert vocabulary.tokens[N_RANKS].type is TokenType.CONTROL
    assert len(vocabulary.tokens) == N_RANKS + 208
    assert vocabulary.special.ids == {"bos": N_RANKS, "eos": N_RANKS, "unk": N_RANKS}


def test_llama_3(tmp_path: Path, merges: list[str]) -> None:
    (tmp_path / "qwen.tiktoken").rename(tmp_path / "tokenizer.model")
    vocabulary = read_vocabulary(tmp_path, {"model_type": "llama"}, N_RANKS + 256)
    assert vocabulary.pre == "llama-bpe"
    assert set(merges) <= set(vocabulary.merges)
    ids = {"bos": N_RANKS, "eos": N_RANKS + 1, "eom": N_RANKS + 8, "eot": N_RANKS + 9}
    assert vocabulary.special.ids == ids
    assert vocabulary.special.add == {"bos": True}
    assert vocabulary.tokens[-1].text == "<|reserved_special_token_247|>"


def test_named_tokens_beat_the_kinds(tmp_path: Path, merges: list[str]) -> None:
    del merges
    (tmp_path / "qwen.tiktoken").rename(tmp_path / "tokenizer.model")
    added = {str(N_RANKS + 2): {"content": "<|user|>", "special": True}}
    write_json(tmp_path / "tokenizer_config.json", {"added_tokens_decoder": added, "eos_token": "<|user|>"})
    vocabulary = read_vocabulary(tmp_path, {"model_type": "chatglm"}, N_RANKS + 4)
    assert vocabulary.pre == "chatglm-bpe"
    assert [token.type for token in vocabulary.tokens[-4:]] == [
        TokenType.UNUSED,
        TokenType.UNUSED,
        TokenType.CONTROL,
        TokenType.UNUSED,
    ]
    assert vocabulary.special.ids == {"eos": N_RANKS + 2}


def test_all_pairs_or_the_one_that_the_order_leads_to() -> None:
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4, b"abc": 5}
    assert merges_of(b"abc", ranks, all_pairs=False) == [(b"a", b"bc")]
    assert merges_of(b"abc", ranks, all_pairs=True) == [(b"a", b"bc"), (b"ab", b"c")]
    assert merges_of(b"a", ranks, all_pairs=True) == []
    assert merges_of(b"xyz", {b"x": 0, b"y": 1, b"z": 2, b"xyz": 3}, all_pairs=False) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [("IQ== 0\nIg==\n", "line 2"), ("IQ== 0\nIg== 2\n", "gaps"), ("I? 0\n", "line 1"), ("", "gaps")],
)
def test_damaged_files(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "qwen.tiktoken").write_text(content, encoding="ascii")
    with pytest.raises(UnknownTokenizer, match=reason):
        read_ranks(tmp_path / "qwen.tiktoken")


def test_a_family_that_isnt_known(tmp_path: Path, merges: list[str]) -> None:
    del merges
    (tmp_path / "qwen.tiktoken").rename(tmp_path / "tokenizer.model")
    assert is_tiktoken(tmp_path / "tokenizer.model")
    with pytest.raises(UnknownTokenizer, match="doesn't say how text is split"):
        read_vocabulary(tmp_path, {"model_type": "other"}, None)


def test_an_id_beyond_the_embedding(tmp_path: Path, merges: list[str]) -> None:
    del merges
    with pytest.raises(UnknownTokenizer, match="vocab_size is 500"):
        read_vocabulary(tmp_path, {}, 500)
