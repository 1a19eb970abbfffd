"""What must not be in any committed file: where packages come from is each machine's own affair."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".import_linter_cache", ".hypothesis"}
NOT_OURS |= {"__pycache__", "build", "dist"}
LARGEST_TEXT_BYTES = 2_000_000

# Written so that this file doesn't match itself.
FORBIDDEN = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "anaconda" + ".org",
    "download." + "pytorch.org",
    "--index" + "-url",
    "--extra-index" + "-url",
    "--find" + "-links",
    "--trusted" + "-host",
]


def text_files() -> Iterator[tuple[Path, str]]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            one
            for one in folders
            if one not in NOT_OURS and not one.startswith(".venv") and not one.endswith(".egg-info")
        ]
        for name in names:
            path = Path(folder) / name
            if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_TEXT_BYTES:
                continue
            data = path.read_bytes()
            if b"\0" not in data:
                yield path.relative_to(ROOT), data.decode("utf-8", errors="replace")


@pytest.mark.parametrize("words", FORBIDDEN)
def test_no_file_names_a_package_index(words: str) -> None:
    found = [str(path) for path, text in text_files() if words in text]
    assert not found


def test_weights_are_let_in_by_name_only() -> None:
    lines = (ROOT / ".gitignore").read_text().splitlines()
    assert "models/" not in lines
    assert {"*.gguf", "*.safetensors", "!/models/demo/model.safetensors"} <= set(lines)
