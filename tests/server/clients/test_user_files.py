from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import StoreError
from models.store.atomic_write import write_atomically
from server.clients.user_files import UserFiles

ORIGINAL = b'{\r\n  // mine\n  "theme": "dark",\xff\n}'


@pytest.fixture
def files(tmp_path: Path) -> UserFiles:
    return UserFiles(tmp_path / "home" / "backups")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "settings.json"
    path.write_bytes(ORIGINAL)
    path.chmod(0o640)
    return path


def test_a_file_is_restored_byte_for_byte(files: UserFiles, path: Path) -> None:
    files.change(path, "one")
    assert path.read_text() == "one"
    assert path.stat().st_mode & 0o777 == 0o640
    assert files.paths() == [path]
    [restored] = files.restore()
    assert (restored.path, restored.removed, restored.kept) == (path, False, None)
    assert path.read_bytes() == ORIGINAL
    assert path.stat().st_mode & 0o777 == 0o640
    assert files.restore() == []
    assert files.paths() == []


def test_a_second_change_keeps_the_first_backup(files: UserFiles, path: Path) -> None:
    files.change(path, "one")
    files.change(path, "two")
    files.restore()
    assert path.read_bytes() == ORIGINAL


def test_after_a_restore_the_next_backup_is_new(files: UserFiles, path: Path) -> None:
    files.change(path, "one")
    files.restore()
    path.write_text("newer")
    files.change(path, "two")
    files.restore()
    assert path.read_text() == "newer"


def test_a_file_that_was_not_there_is_removed(files: UserFiles, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "settings.json"
    files.change(path, "one")
    [restored] = files.restore()
    assert restored.removed
    assert not path.exists()


def test_changes_by_others_are_kept(files: UserFiles, path: Path) -> None:
    files.change(path, "one")
    path.write_text("mine since")
    [restored] = files.restore()
    assert restored.kept is not None
    assert restored.kept.read_text() == "mine since"
    assert path.read_bytes() == ORIGINAL


def test_a_deleted_file_is_put_back(files: UserFiles, path: Path) -> None:
    files.change(path, "one")
    path.unlink()
    files.restore()
    assert path.read_bytes() == ORIGINAL


def test_a_link_stays_one(files: UserFiles, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(path)
    files.change(link, "one")
    assert link.is_symlink()
    assert path.read_text() == "one"
    files.restore()
    assert link.is_symlink()
    assert link.read_bytes() == ORIGINAL


@pytest.mark.parametrize("n_writes", range(3))
def test_a_crash_at_any_write_loses_nothing(
    files: UserFiles, path: Path, monkeypatch: pytest.MonkeyPatch, n_writes: int
) -> None:
    """The writes are the original, the record, the file."""
    write, left = write_atomically, n_writes

    def until_the_crash(*arguments: object, **options: object) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        write(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("server.clients.user_files.write_atomically", until_the_crash)
    with pytest.raises(KeyboardInterrupt):
        files.change(path, "one")
    monkeypatch.undo()
    assert path.read_bytes() == ORIGINAL
    files.change(path, "two")
    assert path.read_text() == "two"
    files.restore()
    assert path.read_bytes() == ORIGINAL


def test_a_place_that_cannot_be_written_is_named(files: UserFiles, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match=r"settings.json can't be changed .*corral connect"):
        files.change(tmp_path / "file" / "settings.json", "one")


def test_a_broken_record_is_named_with_the_original(files: UserFiles, path: Path, tmp_path: Path) -> None:
    files.change(path, "one")
    [record] = (tmp_path / "home" / "backups").glob("*/record.json")
    record.write_text("{")
    with pytest.raises(StoreError, match=r"record\.json.*original: put it back by hand"):
        files.restore()
