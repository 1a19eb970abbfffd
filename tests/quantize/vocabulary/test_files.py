"""The files that name special tokens: which counts, and what a broken one costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.vocabulary.files import TokenizerFiles
from tests.pico import write_json


def files(directory: Path, settings: dict[str, Any] | None) -> TokenizerFiles:
    return TokenizerFiles(directory, {}, None, settings)


def test_a_null_or_an_empty_name_hides_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / "special_tokens_map.json", {"eos_token": None, "pad_token": "<pad>"})
    settings = {"eos_token": "</s>", "pad_token": "", "unk_token": 3}
    assert files(tmp_path, settings).special_content("eos") == "</s>"
    assert files(tmp_path, {**settings, "added_tokens_decoder": {}}).special_content("pad") == "<pad>"
    assert files(tmp_path, settings).special_content("unk") is None


def test_all_special_texts_each_once(tmp_path: Path) -> None:
    settings = {
        "eos_token": {"__type": "AddedToken", "content": "</s>"},
        "image_token": "<image>",
        "add_bos_token": True,
        "extra_special_tokens": [{"content": "<a>"}, "</s>", 3],
        "additional_special_tokens": ["<hidden>"],
    }
    assert files(tmp_path, settings).special_texts == ("</s>", "<image>", "<a>")
    by_name = {"extra_special_tokens": {"video_token": "<video>", "none": None}}
    assert files(tmp_path, by_name).special_texts == ("<video>",)


def test_a_broken_file_that_nothing_needs_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "special_tokens_map.json").write_text("[", encoding="utf-8")
    settings = {"eos_token": "</s>", "added_tokens_decoder": {}}
    assert files(tmp_path, settings).special_content("eos") == "</s>"
    with pytest.raises(CheckpointError, match=r"special_tokens_map\.json"):
        files(tmp_path, {}).special_content("eos")
