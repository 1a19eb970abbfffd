"""ChatGLM3: the first pieces under its own names, special tokens behind the pieces, padding."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import UnknownTokenizer
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.sentencepiece import parse_pieces
from quantize.vocabulary.vocabulary import TokenType
from tests.pico_tokenizer import write_spm_tokenizer

CONFIG = {"model_type": "chatglm", "eos_token_id": 2, "pad_token_id": 0}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_spm_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    return tmp_path


def test_tokens(directory: Path) -> None:
    n_pieces = len(parse_pieces((directory / "tokenizer.model").read_bytes()))
    vocabulary = read_vocabulary(directory, CONFIG, n_pieces + 12)
    texts = [token.text for token in vocabulary.tokens]
    assert texts[:4] == ["<unk>", "<bos>", "<eos>", "<0x00>"]
    assert texts[n_pieces : n_pieces + 2] == ["[MASK]", "[gMASK]"]
    assert texts[-4:] == ["<|observation|>", *(f"[PAD{n_pieces + i}]" for i in (9, 10, 11))]
    assert vocabulary.tokens[n_pieces + 1].type is TokenType.CONTROL
    assert vocabulary.tokens[-1].type is TokenType.UNUSED
    assert vocabulary.tokens[260].score == -1.0
    assert (vocabulary.model, vocabulary.pre) == ("llama", "chatglm-spm")
    assert vocabulary.special.ids == {"eos": 2, "pad": 0}


def test_an_embedding_that_is_too_small(directory: Path) -> None:
    with pytest.raises(UnknownTokenizer, match="don't belong together"):
        read_vocabulary(directory, CONFIG, 400)
