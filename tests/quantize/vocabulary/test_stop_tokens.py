"""The tokens that end an answer: from every file that names one into the keys of a file, and out of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.gguf.info import read_gguf_info
from models.llamacpp.model import Model
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.stop_tokens import config_ids, named_ids, stop_metadata
from quantize.vocabulary.vocabulary import TokenType, Vocabulary
from tests.pico import write_json, write_pico_checkpoint
from tests.quantize.quantize_folder import run_plan
from tests.quantize.vocabulary.saved_forms import END, N_BPE, START, TEXT, THINK, Folder, form

PREFIX = "tokenizer.ggml"


def vocabulary_of(directory: Path, change: Callable[[Folder], object], **config: Any) -> Vocabulary:
    saved = form("", change, **config)
    return read_vocabulary(saved.write(directory / "model"), saved.config, saved.n_vocab)


def keys_of(vocabulary: Vocabulary) -> dict[str, Any]:
    metadata = vocabulary.metadata()
    metadata |= stop_metadata(metadata, vocabulary)
    roles = ("eos_token_id", "eot_token_id", "eom_token_id", "eos_token_ids")
    return {role: metadata[f"{PREFIX}.{role}"].data for role in roles if f"{PREFIX}.{role}" in metadata}


@pytest.mark.parametrize("value", [None, -1, "3", True, 2.0, [], [None, "3", -1, 416], {"a": 1}, [[3]]])
def test_values_that_are_no_ids(value: Any) -> None:
    assert named_ids({"eos_token_id": value}, N_BPE) == []


def test_one_id_or_a_list() -> None:
    assert named_ids({"eos_token_id": 3}, N_BPE) == [3]
    assert named_ids({"eos_token_id": [5, 3, 5, N_BPE]}, N_BPE) == [5, 3]


@pytest.mark.parametrize("section", ["text_config", "decoder", "generator", "llm_config"])
def test_ids_in_a_section_of_the_part_that_writes(section: str) -> None:
    assert config_ids({"eos_token_id": None, section: {"eos_token_id": [7]}}, N_BPE) == [7]
    assert config_ids({"eos_token_id": 1, section: {"eos_token_id": [7]}}, N_BPE) == [1]


def test_the_tokenizers_eos_is_the_first(tmp_path: Path) -> None:
    def change(folder: Folder) -> None:
        folder.lay("generation_config.json", eos_token_id=[THINK, TEXT, END])

    found = vocabulary_of(tmp_path, change, eos_token_id=START)
    assert list(found.stops) == [END, THINK, TEXT]
    assert keys_of(found) == {"eos_token_id": END, "eom_token_id": THINK, "eot_token_id": TEXT}


def test_more_than_llama_cpp_has_keys_for(tmp_path: Path) -> None:
    def change(folder: Folder) -> None:
        folder.lay("generation_config.json", eos_token_id=[THINK, TEXT, 3])

    found = keys_of(vocabulary_of(tmp_path, change))
    assert found["eos_token_ids"] == [END, THINK, TEXT, 3]


@pytest.mark.parametrize(
    ("generation", "config", "eos"),
    [
        ({"eos_token_id": [TEXT, THINK]}, START, TEXT),
        ({"eos_token_id": [TEXT, START]}, START, START),
        ({"eos_token_id": None}, [START, TEXT], START),
        ({"temperature": 1.0}, START, START),
        ({"eos_token_id": [9999, "x"]}, START, START),
    ],
)
def test_eos_where_the_tokenizer_names_none(
    tmp_path: Path, generation: dict[str, Any], config: Any, eos: int
) -> None:
    def change(folder: Folder) -> None:
        folder.settings(eos_token=None, chat_template=None)
        folder.lay("generation_config.json", **generation)

    assert keys_of(vocabulary_of(tmp_path, change, eos_token_id=config))["eos_token_id"] == eos


def test_a_broken_generation_config_costs_its_own_ids(tmp_path: Path) -> None:
    found = vocabulary_of(tmp_path, lambda f: f.write("generation_config.json", "{"), eos_token_id=END)
    assert keys_of(found) == {"eos_token_id": END}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("<|eot|>", "eot_token_id"),
        ("[|endofturn|]", "eot_token_id"),
        ("<|END_OF_TURN_TOKEN|>", "eot_token_id"),
        ("<|end_of_sentence|>", "eot_token_id"),
        ("<|eom|>", "eom_token_id"),
        ("<|end_of_role|>", None),
        ("<|eot_id|>", None),  # llama.cpp knows it by its text
        ("<turn|>", None),
    ],
)
def test_the_templates_end_of_turn(tmp_path: Path, text: str, key: str | None) -> None:
    def change(folder: Folder) -> None:
        folder.settings(chat_template="{{ messages }}" + text)
        folder.add(THINK + 1, text, special=True)

    found = vocabulary_of(tmp_path, change)
    assert keys_of(found) == {"eos_token_id": END} | ({key: THINK + 1} if key else {})


def test_harmonys_end_of_a_part_is_no_end(tmp_path: Path) -> None:
    def change(folder: Folder) -> None:
        folder.settings(chat_template="<|start|>{{ messages }}<|end|><|return|>", eos_token="<|return|>")
        for i, text in enumerate(("<|end|>", "<|return|>", "<|call|>"), start=THINK + 1):
            folder.add(i, text, special=True)

    found = vocabulary_of(tmp_path, change, eos_token_id=[THINK + 2, THINK + 3])
    assert set(found.stops) == {THINK + 2, THINK + 3}


def without_names(folder: Folder) -> None:
    folder.settings(eos_token=None, bos_token=None, pad_token=None, add_bos_token=True, chat_template=None)
    folder.edit("tokenizer.json", lambda value: value.update(post_processor=None))


def test_a_model_without_an_eos_gets_one_that_no_answer_has(tmp_path: Path) -> None:
    found = vocabulary_of(tmp_path, without_names)
    assert list(found.stops) == []
    eos = keys_of(found)["eos_token_id"]
    assert found.tokens[eos].type is TokenType.UNUSED
    metadata = found.metadata()
    assert stop_metadata(metadata, found)[f"{PREFIX}.add_bos_token"].data is False, "bos would be id 11"


def test_where_no_token_is_unused_or_special_it_is_a_byte_that_no_text_has(tmp_path: Path) -> None:
    def change(folder: Folder) -> None:
        without_names(folder)
        folder.settings(added_tokens_decoder={})
        folder.edit("tokenizer.json", lambda value: value.update(added_tokens=[]))

    saved = form("", change)
    found = read_vocabulary(saved.write(tmp_path / "model"), saved.config, None)
    assert found.tokens[keys_of(found)["eos_token_id"]].text == "\xff"


@pytest.mark.model
def test_llama_cpp_and_the_server_end_answers_there(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "model", n_layers=1, config={"vocab_size": N_BPE})
    Folder(directory).settings(eos_token=None)
    write_json(directory / "generation_config.json", {"eos_token_id": [3, 5, 7, 9]})
    (file,) = run_plan(directory, ["Q8_0"], tmp_path)
    info = read_gguf_info(file.path)
    with Model.load(file.path, vocab_only=True, stop_tokens=info.stop_tokens) as model:
        assert model.vocab.eos == 3
        assert {3, 5, 7, 9, END, TEXT} <= set(model.vocab.eog_tokens)
        assert 11 not in model.vocab.eog_tokens
        assert model.vocab.is_eog(9)


@pytest.mark.model
def test_a_comma_that_llama_cpp_assumes_ends_no_answer(tmp_path: Path) -> None:
    """Other programs' files lack the key."""
    directory = write_pico_checkpoint(tmp_path / "model", n_layers=1, config={"vocab_size": N_BPE})
    Folder(directory).settings(chat_template=None)
    (file,) = run_plan(directory, ["Q8_0"], tmp_path)
    data = file.path.read_bytes()
    for role in (b"eos", b"bos"):
        data = data.replace(
            b"tokenizer.ggml." + role + b"_token_id", b"tokenizer.ggml." + role + b"_nobody_x"
        )
    other = tmp_path / "other.gguf"
    other.write_bytes(data)
    assert read_gguf_info(other).stop_tokens == ()
    with Model.load(other, vocab_only=True) as model:
        assert (model.vocab.bos, model.vocab.eos) == (None, None)
        assert not model.vocab.is_eog(11)
        assert model.vocab.is_eog(END)
