"""Unpacking llama.cpp's sources."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from scripts.sources import LLAMA_CPP, unpack
from scripts.steps import SetUpError


def archive(folder: Path, name: str = f"bindings-1.0/{LLAMA_CPP}/LICENSE") -> Path:
    path = folder / "bindings-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo(name)
        member.size = 4
        file.addfile(member, io.BytesIO(b"text"))
    return path


def test_unpack_once(tmp_path: Path) -> None:
    sdist = archive(tmp_path)
    folder = unpack(sdist)
    assert folder == tmp_path / "bindings-1.0"
    assert (folder / LLAMA_CPP / "LICENSE").read_text() == "text"
    (folder / "mark").touch()
    assert unpack(sdist) == folder
    assert (folder / "mark").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bindings-1.0", "bindings-1.0.tar.gz"]


def test_an_archive_cant_write_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    sdist = archive(tmp_path / "cache", "../../outside")
    with pytest.raises(SetUpError, match="outside its folder"):
        unpack(sdist)
    assert not (tmp_path / "outside").exists()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["bindings-1.0.tar.gz"]
