"""Special tokens from the three files that name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.special_tokens import special_tokens
from quantize.vocabulary.token_table import TokenTable
from quantize.vocabulary.vocabulary import SpecialTokens


def special(content: str) -> dict[str, Any]:
    return {"SpecialToken": {"id": content, "type_id": 0}}


A, B = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
ADDED = [
    {"id": i, "content": text, "special": True} for i, text in enumerate(["<s>", "</s>", "<pad>", "<sep>"])
]


def files(
    *, post: Any = None, tokenizer_config: dict[str, Any] | None = None, config: dict[str, Any] | None = None
) -> TokenizerFiles:
    tokenizer = {"added_tokens": ADDED, "post_processor": post}
    return TokenizerFiles(Path(), config or {}, tokenizer, tokenizer_config)


def found_in(files: TokenizerFiles, n_vocab: int | None = None) -> SpecialTokens:
    own = {str(entry["content"]): i for i, entry in enumerate(ADDED)}
    return special_tokens(files, TokenTable(own), n_vocab)


def template(single: list[Any], pair: list[Any]) -> dict[str, Any]:
    return {"type": "TemplateProcessing", "single": single, "pair": pair}


def test_names_give_ids_and_config_json_fills_gaps() -> None:
    found = found_in(
        files(
            tokenizer_config={"bos_token": "<s>", "eos_token": {"content": "</s>"}, "unk_token": "<nowhere>"},
            config={"bos_token_id": 7, "pad_token_id": 2, "eos_token_id": [1, 5]},
        )
    )
    assert found.ids == {"bos": 0, "eos": 1, "pad": 2}
    assert found.add == {}


def test_ids_beyond_the_vocabulary_are_left_out() -> None:
    found = found_in(files(config={"bos_token_id": 3, "eos_token_id": 4}), n_vocab=4)
    assert found.ids == {"bos": 3}


@pytest.mark.parametrize("value", [-1, True, "3", [3], None])
def test_ids_that_are_none(value: Any) -> None:
    assert found_in(files(config={"bos_token_id": value})).ids == {}


def test_what_the_post_processor_adds_beats_the_configuration() -> None:
    config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False, "add_eos_token": True}
    found = found_in(files(post=template([special("<s>"), A], []), tokenizer_config=config))
    assert found.add == {"bos": True, "eos": True}
    plain = found_in(files(post={"type": "ByteLevel"}, tokenizer_config=config))
    assert plain.add == {"bos": False, "eos": False}
    assert found_in(files(tokenizer_config=config)).add == {"bos": False, "eos": True}


def test_a_last_token_that_isnt_eos_takes_its_place() -> None:
    config = {"bos_token": "<s>", "eos_token": "</s>"}
    found = found_in(files(post=template([A, special("<sep>")], []), tokenizer_config=config))
    assert found.ids == {"bos": 0, "eos": 3, "eot": 1}
    assert found.add == {"eos": True}


def test_encoders_call_them_cls_and_sep() -> None:
    config = {"cls_token": "<s>", "sep_token": "</s>"}
    post = {"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 1]}
    found = found_in(files(post=post, tokenizer_config=config))
    assert found.ids == {"bos": 0, "eos": 1, "cls": 0, "sep": 1}
    assert found.add == {"bos": True, "eos": True, "sep": True}


@pytest.mark.parametrize(
    ("pair", "separated"),
    [
        ([special("<s>"), A, special("<s>"), B], False),
        ([special("<s>"), A, special("</s>"), B], True),
        ([special("<s>"), A, B], None),
        ([special("<s>"), B, special("</s>"), A], None),
    ],
)
def test_a_separator_between_two_sequences(pair: list[Any], separated: bool | None) -> None:
    config = {"bos_token": "<s>", "eos_token": "</s>"}
    found = found_in(files(post=template([special("<s>"), A], pair), tokenizer_config=config))
    assert found.add.get("sep") is separated


@pytest.mark.parametrize(
    "post",
    [
        [],
        3,
        {},
        {"type": "Sequence", "processors": 3},
        {"type": "TemplateProcessing", "single": 3, "pair": [1, 2]},
    ],
)
def test_malformed_post_processors_say_nothing(post: Any) -> None:
    assert found_in(files(post=post, tokenizer_config={"bos_token": "<s>"})).add == {}
