from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest
from filelock import Timeout

from models.store.file_lock import acquire


def refuse(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every flock of this process fail with the error."""

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("name", ["ENOLCK", "EOPNOTSUPP", "ENOTSUP"])
def test_without_locks_a_file_that_is_there_is_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(getattr(errno, name), monkeypatch)
    held = acquire(tmp_path / "lock")
    assert [path.name for path in tmp_path.glob("*.soft")] == ["lock.soft"]
    with pytest.raises(Timeout):
        acquire(tmp_path / "lock")
    held.release()
    acquire(tmp_path / "lock").release()


def test_other_errors_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(errno.EIO, monkeypatch)
    with pytest.raises(OSError, match="no locks here"):
        acquire(tmp_path / "lock")
