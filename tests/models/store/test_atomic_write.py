"""Files replaced in one step: whole or not at all, and nothing left beside them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from models.errors import DiskFull, StoreError
from models.store.atomic_write import disk_errors, disk_full, write_atomically


def test_parts_become_one_file_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    write_atomically(path, b"a", bytearray(b"b"), memoryview(b"c"))
    assert path.read_bytes() == b"abc"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_for_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "open", b"a")
        write_atomically(tmp_path / "private", b"a", private=True)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"open": 0o644, "private": 0o600}


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFull, match="can't keep it: no space left"), disk_full("keep it", path):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "file"
    with (
        pytest.raises(StoreError, match="can't keep it: No such file or directory"),
        disk_errors("keep it", path),
    ):
        write_atomically(path, b"new")
