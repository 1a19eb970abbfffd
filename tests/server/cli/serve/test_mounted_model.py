from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from server.cli.serve.mounted_model import first_here


def test_the_first_that_is_here(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    assert first_here([]) is None
    assert first_here([str(tmp_path / "none"), str(empty)]) is None
    assert first_here([str(tmp_path / "none"), str(empty), "demo", str(full)]) == "demo"
    full.mkdir()
    (full / "config.json").touch()
    assert first_here([str(empty), f"{full}:4bit", "demo"]) == f"{full}:Q4_K_M"


def test_a_file_in_a_folder(tmp_path: Path) -> None:
    """An unpacked archive has a folder of its own; a split file is its first part, a projector no model."""
    inner = tmp_path / "1" / "model"
    inner.mkdir(parents=True)
    for name in ("a-00002-of-00002.gguf", "a-00001-of-00002.gguf", "a.mmproj-F16.gguf", "README.md"):
        (inner / name).touch()
    assert first_here([str(tmp_path)]) == str(inner / "a-00001-of-00002.gguf")
    (inner / "b.gguf").touch()
    with pytest.raises(
        ConfigError, match=r"has several models \(a-00001-of-00002.gguf, b.gguf\); name the one"
    ):
        first_here([str(tmp_path)])
