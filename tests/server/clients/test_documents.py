from __future__ import annotations

import tomllib
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError
from server.clients.client import Document
from server.clients.documents import merged, parse, render, text_of

SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.dates()
    | st.datetimes()
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def a_document(form: Literal["json", "toml"] = "json", **content: Any) -> Document:
    return Document(f"~/settings.{form}", form, content)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_toml_is_read_back(content: dict[str, Any]) -> None:
    assert tomllib.loads(render(content, "toml")) == content


def test_tables_come_after_the_values_before_them() -> None:
    assert render({"a": {"b": {"c": 1}}, "d": 2, "e": {}}, "toml") == "d = 2\n\n[a.b]\nc = 1\n\n[e]\n"


def test_settings_are_merged_and_none_takes_one_out() -> None:
    before = {"a": {"x": 1, "y": 2}, "b": 3, "c": [1]}
    assert merged(before, {"a": {"x": None, "z": 4}, "b": {"q": 5}, "c": [2]}) == {
        "a": {"y": 2, "z": 4},
        "b": {"q": 5},
        "c": [2],
    }
    assert before == {"a": {"x": 1, "y": 2}, "b": 3, "c": [1]}


def test_what_the_client_wrote_stays() -> None:
    ours = a_document("toml", model="m", model_providers={"corral": {"env_key": None, "name": "Corral"}})
    text = (
        'model = "old"\n[model_providers.corral]\nenv_key = "K"\n[projects."/a b"]\ntrust_level = "trusted"\n'
    )
    assert tomllib.loads(text_of(ours, text)) == {
        "model": "m",
        "model_providers": {"corral": {"name": "Corral"}},
        "projects": {"/a b": {"trust_level": "trusted"}},
    }


def test_comments_and_trailing_commas_of_editors_are_read() -> None:
    text = '\ufeff// mine\n{"url": "http://a/b", /* c, */ "q": "a \\" // b", "list": [1, 2,],\n}\n'
    assert parse(text, a_document()) == {"url": "http://a/b", "q": 'a " // b', "list": [1, 2]}


@pytest.mark.parametrize("text", ["", "  \n", "// nothing yet\n"])
def test_an_empty_file_has_no_settings(text: str) -> None:
    assert parse(text, a_document()) == {}


@pytest.mark.parametrize(
    ("form", "text"), [("json", "{"), ("json", "[]"), ("toml", "a = "), ("json", '{"a": 1 "b"}')]
)
def test_what_cannot_be_read_is_left_alone(form: Literal["json", "toml"], text: str) -> None:
    with pytest.raises(ConfigError, match=r"settings\.(json|toml).*correct it"):
        text_of(a_document(form, a=1), text)
