"""Chat templates from all the places where repositories keep them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.vocabulary.chat_template import chat_templates
from quantize.vocabulary.files import TokenizerFiles
from tests.pico import write_json


def templates(directory: Path, config: dict[str, Any] | None) -> tuple[str | None, dict[str, str]]:
    default, named = chat_templates(TokenizerFiles(directory, {}, None, config))
    return default, dict(named)


def write_additional(directory: Path) -> None:
    (directory / "additional_chat_templates").mkdir()
    (directory / "additional_chat_templates" / "tool-use.jinja").write_text("tools", encoding="utf-8")


def test_a_file_comes_first(tmp_path: Path) -> None:
    write_json(tmp_path / "chat_template.json", {"chat_template": "json"})
    assert templates(tmp_path, {"chat_template": "config"}) == ("config", {})
    assert templates(tmp_path, {"chat_template": None}) == ("json", {})
    (tmp_path / "chat_template.jinja").write_text("file", encoding="utf-8")
    configs: list[dict[str, Any] | None] = [None, {}, {"chat_template": None}, {"chat_template": "config"}]
    for config in configs:
        assert templates(tmp_path, config) == ("file", {})


def test_a_file_hides_the_list_of_named_templates(tmp_path: Path) -> None:
    entries = [{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}]
    (tmp_path / "chat_template.jinja").write_bytes(b"one\r\ntwo")
    assert templates(tmp_path, {"chat_template": entries}) == ("one\ntwo", {})


def test_an_object_of_templates(tmp_path: Path) -> None:
    config = {"chat_template": {"default": "a", "tool_use": "b", "": "c", "rag": None}}
    assert templates(tmp_path, config) == ("a", {"tool_use": "b"})


def test_a_default_among_the_additional_ones(tmp_path: Path) -> None:
    write_additional(tmp_path)
    (tmp_path / "additional_chat_templates" / "default.jinja").write_text("own", encoding="utf-8")
    assert templates(tmp_path, {"chat_template": "config"}) == ("own", {"tool_use": "tools"})


def test_additional_ones_alone_hide_no_default(tmp_path: Path) -> None:
    write_additional(tmp_path)
    assert templates(tmp_path, {"chat_template": "config"}) == ("config", {"tool_use": "tools"})
    assert templates(tmp_path, {}) == (None, {"tool_use": "tools"})


def test_a_list_of_named_templates(tmp_path: Path) -> None:
    entries: list[Any] = [
        {"name": "default", "template": "a"},
        {"name": "rag 2", "template": "b"},
        {"name": "broken"},
        3,
    ]
    assert templates(tmp_path, {"chat_template": entries}) == ("a", {"rag_2": "b"})


@pytest.mark.parametrize(
    "config", [{}, {"chat_template": "file"}, {"chat_template": [{"name": "default", "template": "file"}]}]
)
def test_additional_templates_come_on_top(config: dict[str, Any], tmp_path: Path) -> None:
    write_additional(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("file", encoding="utf-8")
    assert templates(tmp_path, config) == ("file", {"tool_use": "tools"})


def test_chat_template_json(tmp_path: Path) -> None:
    write_json(tmp_path / "chat_template.json", {"chat_template": "json"})
    assert templates(tmp_path, {}) == ("json", {})


def test_a_broken_file_of_a_later_place_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text("{", encoding="utf-8")
    assert templates(tmp_path, {"chat_template": "config"}) == ("config", {})
    with pytest.raises(CheckpointError, match=r"chat_template\.json"):
        templates(tmp_path, {})


def test_processor_config(tmp_path: Path) -> None:
    write_json(tmp_path / "processor_config.json", {"chat_template": "processor"})
    assert templates(tmp_path, {"chat_template": None}) == ("processor", {})


def test_none_at_all(tmp_path: Path) -> None:
    assert templates(tmp_path, {}) == (None, {})
