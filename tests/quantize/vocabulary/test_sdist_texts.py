"""Real vocabularies, through our reader into llama.cpp: texts are split as by the models' own tokenizers.

The vocabularies and the texts are those of llama.cpp's source tree (CORRAL_LLAMA_CPP_SOURCE); torch isn't
needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.llamacpp.model import Model
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.vocabulary import TokenType
from tests.quantize.real_tokenizers import REAL_TOKENIZERS
from tests.quantize.vocabulary.sdist_vocabularies import (
    SdistVocabulary,
    write_sentencepiece,
    write_wordpiece,
)

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
pytestmark = [pytest.mark.oracle, pytest.mark.timeout(300)]
if SOURCES is None:
    pytestmark.append(pytest.mark.skip(reason="CORRAL_LLAMA_CPP_SOURCE names no llama.cpp source tree"))

MADE: dict[str, Callable[[SdistVocabulary, Path], None]] = {
    "bert-bge": write_wordpiece,
    "llama-spm": write_sentencepiece,
    "phi-3": write_sentencepiece,
}
WITHOUT_TEXTS: dict[str, Callable[[SdistVocabulary, Path], None]] = {
    "baichuan": write_sentencepiece,
}


def vocabulary_of(name: str) -> SdistVocabulary:
    assert SOURCES is not None
    return SdistVocabulary(Path(SOURCES) / "models" / f"ggml-vocab-{name}.gguf")


def split_by(path: Path, texts: list[str]) -> list[list[int]]:
    with Model.load(path, vocab_only=True) as model:
        return [model.vocab.tokenize(text, add_special=False, parse_special=False) for text in texts]


def write(name: str, directory: Path) -> tuple[SdistVocabulary, Path]:
    """Write the tokenizer's files, and the GGUF that we make of them."""
    source = vocabulary_of(name)
    if name in REAL_TOKENIZERS:
        REAL_TOKENIZERS[name].write(source.path, directory / "checkpoint")
    else:
        (directory / "checkpoint").mkdir()
        (MADE | WITHOUT_TEXTS)[name](source, directory / "checkpoint")
    config = {} if name != "nomic-bert-moe" else {"model_type": "nomic_bert"}
    vocabulary = read_vocabulary(directory / "checkpoint", config, len(source.tokens))
    return source, source.write_gguf(vocabulary, directory / "ours.gguf")


@pytest.mark.parametrize("name", [*REAL_TOKENIZERS, *MADE])
def test_the_texts_of_the_source_tree(name: str, tmp_path: Path) -> None:
    source, ours = write(name, tmp_path)
    cases = source.cases()
    assert len(cases) > 40
    assert split_by(ours, [text for text, _ in cases]) == [tokens for _, tokens in cases]


@pytest.mark.parametrize("name", WITHOUT_TEXTS)
def test_vocabularies_without_texts_split_as_before(name: str, tmp_path: Path) -> None:
    source, ours = write(name, tmp_path)
    texts = [text for text, _ in vocabulary_of("llama-spm").cases()]
    assert split_by(ours, texts) == split_by(source.path, texts)


def test_a_vocabulary_comes_back_token_by_token(tmp_path: Path) -> None:
    """WordPiece: text and type of all 30,522."""
    source = vocabulary_of("bert-bge")
    write_wordpiece(source, tmp_path)
    ours = read_vocabulary(tmp_path, {}, len(source.tokens)).tokens
    assert [(token.text, token.type) for token in ours] == [
        (text, TokenType(kind)) for text, _, kind in source.tokens
    ]
