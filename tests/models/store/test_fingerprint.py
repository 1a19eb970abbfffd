from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.errors import StoreError
from models.store.fingerprint import fingerprint


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_changes_with_the_files(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "a")
    first = fingerprint(folder)
    assert first == fingerprint(folder)
    assert first.startswith("local-")
    (folder / ".cache").write_text("x")
    assert fingerprint(folder) == first
    os.utime(folder / "config.json", ns=(1, 1))
    assert fingerprint(folder) != first


def test_modules_behind_the_model_count_and_other_folders_do_not(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "a")
    first = fingerprint(folder)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_bytes(b"others")
    assert fingerprint(folder) == first
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"dense")
    with_module = fingerprint(folder)
    assert with_module != first
    os.utime(folder / "2_Dense" / "model.safetensors", ns=(1, 1))
    assert fingerprint(folder) != with_module


def test_contents_are_the_same_anywhere(tmp_path: Path) -> None:
    one, two = checkpoint(tmp_path / "a"), checkpoint(tmp_path / "b")
    os.utime(two / "config.json", ns=(1, 1))
    assert fingerprint(one, contents=True) == fingerprint(two, contents=True)
    (two / "model.safetensors").write_bytes(b"Weights")
    assert fingerprint(one, contents=True) != fingerprint(two, contents=True)


def test_one_file_and_none(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "a")
    assert fingerprint(folder / "model.safetensors") != fingerprint(folder)
    with pytest.raises(StoreError):
        fingerprint(tmp_path / "missing")
