"""Texts under two ids and tokens beyond the embedding: seen while planning, named, and mended or refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import UnknownTokenizer
from models.llamacpp.model import Model
from quantize.vocabulary.misfits import with_distinct_texts
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.vocabulary import Token, TokenType, Vocabulary
from tests.pico import write_pico_checkpoint
from tests.pico_tokenizer import spm_piece
from tests.quantize.quantize_folder import run_plan
from tests.quantize.vocabulary.saved_forms import END, GONE, N_BPE, N_SPM, THINK, Folder, Kind, form


def vocabulary_of(directory: Path, change: Callable[[Folder], object], kind: Kind = "bpe") -> Vocabulary:
    saved = form("", change, kind)
    return read_vocabulary(saved.write(directory / "model"), saved.config, saved.n_vocab)


def add_beyond(folder: Folder, text: str = "[PAD]") -> None:
    for i in range(THINK + 1, N_BPE):
        folder.add(i, f"<more{i}>", special=True)
    folder.add(N_BPE, text, special=True)


def test_a_token_beyond_the_embedding_is_left_out(tmp_path: Path) -> None:
    found = vocabulary_of(tmp_path, add_beyond)
    assert len(found.tokens) == N_BPE
    (remark,) = found.remarks
    assert "416 rows" in remark
    assert "'[PAD]' (416)" in remark


@pytest.mark.parametrize("name", ["tokenizer_config.json", "added_tokens.json"])
def test_of_a_sentencepiece_model(tmp_path: Path, name: str) -> None:
    def change(folder: Folder) -> None:
        added = {"content": "<late>", "special": True}
        if name == "added_tokens.json":
            folder.settings(added_tokens_decoder=GONE)
            folder.lay(name, **{"<late>": N_SPM + 3})
        else:
            folder.edit(name, lambda value: value["added_tokens_decoder"].update({str(N_SPM + 3): added}))

    found = vocabulary_of(tmp_path, change, "spm")
    assert len(found.tokens) == N_SPM
    assert f"'<late>' ({N_SPM + 3})" in found.remarks[0]


def test_the_chat_template_needs_one(tmp_path: Path) -> None:
    def change(folder: Folder) -> None:
        add_beyond(folder, "<|user|>")
        folder.settings(chat_template="<|user|>{{ messages }}")

    with pytest.raises(UnknownTokenizer, match=r"'<\|user\|>' has the id 416, .* 416 rows, and the chat"):
        vocabulary_of(tmp_path, change)


def test_the_end_of_answers_needs_one(tmp_path: Path) -> None:
    def change(folder: Folder) -> None:
        add_beyond(folder, "<|done|>")
        folder.settings(eos_token="<|done|>", chat_template=None)

    with pytest.raises(UnknownTokenizer, match=r"'<\|done\|>' has the id 416, .* only eos_token"):
        vocabulary_of(tmp_path / "a", change)

    def named(folder: Folder) -> None:
        change(folder)
        folder.lay("generation_config.json", eos_token_id=END)

    assert vocabulary_of(tmp_path / "b", named).special.ids["eos"] == END


def twice_in_tokenizer_json(folder: Folder) -> None:
    folder.add(THINK + 1, "!", special=True)


def twice_among_pieces(folder: Folder) -> None:
    path = folder.path / "tokenizer.model"
    path.write_bytes(spm_piece("</s>", 0.0, 1) + path.read_bytes())


@pytest.mark.parametrize(
    ("kind", "change", "named"),
    [
        ("bpe", twice_in_tokenizer_json, "'!' (0, not 410)"),
        ("spm", twice_among_pieces, "'</s>' (3, not 0)"),
    ],
)
def test_a_text_under_two_ids(
    tmp_path: Path, kind: Kind, change: Callable[[Folder], object], named: str
) -> None:
    found = vocabulary_of(tmp_path, change, kind)
    texts = [token.text for token in found.tokens]
    assert len(set(texts)) == len(texts)
    assert any(named in remark for remark in found.remarks), found.remarks


def test_padding_has_another_text_than_tokens_do() -> None:
    tokens = [Token("a", TokenType.NORMAL), Token("[PAD0]", TokenType.NORMAL), Token("a", TokenType.NORMAL)]
    found = with_distinct_texts(Vocabulary("gpt2", "default", tokens))
    assert [token.text for token in found.tokens] == ["[[PAD0]]", "[PAD0]", "a"]
    assert found.tokens[0].type is TokenType.UNUSED
    assert found.remarks == ["a text has one id, which is transformers': 'a' (2, not 0)"]


def test_a_text_with_a_zero_byte_is_left_out() -> None:
    tokens = [Token("a", TokenType.NORMAL), Token("a\0b", TokenType.NORMAL)]
    found = with_distinct_texts(Vocabulary("gpt2", "default", tokens))
    assert [token.text for token in found.tokens] == ["a", "[PAD1]"]
    assert "'a\\x00b' (1)" in found.remarks[0]


@pytest.mark.model
def test_llama_cpp_loads_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = write_pico_checkpoint(tmp_path / "model", n_layers=1, config={"vocab_size": N_BPE})
    twice_in_tokenizer_json(Folder(directory))
    with caplog.at_level(logging.WARNING, "corral.quantize"):
        (file,) = run_plan(directory, ["Q8_0"], tmp_path)
    assert "'!' (0, not 410)" in caplog.text
    with Model.load(file.path, vocab_only=True) as model:
        assert model.vocab.n_tokens == N_BPE
