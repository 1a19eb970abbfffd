"""Tokenizers in all the forms they are saved in: we read what transformers reads.

`data/saved_forms.json` holds what transformers made of the same folders.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantize.vocabulary.files import looks_special
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.vocabulary import TokenType, Vocabulary
from tests.quantize.vocabulary.saved_forms import GOLDEN, SAVED_FORMS, SavedForm

SPECIAL = (TokenType.CONTROL, TokenType.UNKNOWN)
golden: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
forms = pytest.mark.parametrize("form", SAVED_FORMS, ids=lambda form: form.name)


@pytest.fixture
def vocabulary(form: SavedForm, tmp_path: Path) -> Vocabulary:
    return read_vocabulary(form.write(tmp_path / "model"), form.config, form.n_vocab)


@forms
def test_added_tokens_have_their_ids_and_kinds(form: SavedForm, vocabulary: Vocabulary) -> None:
    embedded = {i: t for i, t in golden[form.name]["added"] if i < form.n_vocab}
    for token_id, (text, special) in embedded.items():
        token = vocabulary.tokens[token_id]
        assert token.text in (text, text.replace("\u2581", " "), "\u2581" + text)
        assert (token.type in SPECIAL) == (special or looks_special(text)), text
    given = {i for i, token in enumerate(vocabulary.tokens) if token.type is TokenType.CONTROL}
    assert given <= embedded.keys(), "a special token that transformers doesn't know"


@forms
def test_no_other_token_is_there(form: SavedForm, vocabulary: Vocabulary) -> None:
    given = [token for token in vocabulary.tokens if token.type is not TokenType.UNUSED]
    assert len(given) == min(golden[form.name]["n_tokens"], form.n_vocab)
    assert len({token.text for token in vocabulary.tokens}) == form.n_vocab


@forms
def test_answers_end_where_transformers_ends_them(form: SavedForm, vocabulary: Vocabulary) -> None:
    theirs = {i for i in golden[form.name]["stops"] if i < form.n_vocab}
    if form.kind == "wordpiece":
        theirs.add(vocabulary.special.ids["sep"])  # llama.cpp's name for an encoder's last token is eos
    assert theirs <= set(vocabulary.stops) <= theirs | set(vocabulary.turn_ends)
    named = golden[form.name]["eos"]
    assert named is None or vocabulary.special.ids["eos"] == named


@forms
def test_chat_templates(form: SavedForm, vocabulary: Vocabulary) -> None:
    theirs = golden[form.name]["templates"]
    assert vocabulary.chat_template == theirs.pop("default", None)
    assert vocabulary.named_chat_templates == theirs


def test_every_form_was_read_by_transformers() -> None:
    assert golden.keys() == {form.name for form in SAVED_FORMS}
