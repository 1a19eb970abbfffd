"""`UserFiles`: files of the user, changed for a client, each with its backup, and the way back.

A backup is the file's bytes and a record, which is written after them: a backup with a record is whole. It is
made before the file is changed for the first time and stays until `restore`, so neither a second launch nor
a crash in between can lose what the user had.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import Timeout

from models.errors import StoreError
from models.store import file_lock
from models.store.atomic_write import write_atomically

_RECORD, _ORIGINAL, _LOCK = "record.json", "original", ".lock"

LOCK_TIMEOUT_S = 10.0
"""Another launch that changes the same files is waited for this many seconds."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A file that is as it was. `kept` is where the file went that somebody had changed after us."""

    path: Path
    removed: bool
    kept: Path | None


@dataclass(frozen=True, slots=True)
class _Record:
    path: str
    existed: bool
    mode: int
    written_sha256: str


class UserFiles:
    """The files of the user that one client needs changed. Backups lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def change(self, path: Path, text: str) -> None:
        """Give the file this text; what it was before the first change is kept.

        A link is followed, so that it stays one. Raises StoreError if it can't be read or written.
        """
        path = path.resolve()
        content = text.encode()
        with self._locked(), _explained(path):
            backup = self._backup_of(path)
            before = self._record_in(backup) or _back_up(path, backup)
            record = _Record(before.path, before.existed, before.mode, _sha256(content))
            write_atomically(backup / _RECORD, json.dumps(asdict(record)).encode(), private=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content, private=True)
            path.chmod(record.mode)

    def restore(self) -> list[Restored]:
        """Put back every file as it was, byte for byte, and forget its backup.

        A file that was changed by somebody else since is kept beside the backups. Raises StoreError.
        """
        if not self._folder.is_dir():
            return []
        with self._locked():
            return [self._restore(folder) for folder in sorted(self._folder.iterdir()) if folder.is_dir()]

    def paths(self) -> list[Path]:
        """Return the files that have a backup."""
        folders = self._folder.iterdir() if self._folder.is_dir() else ()
        records = [self._record_in(folder) for folder in folders if folder.is_dir()]
        return sorted(Path(record.path) for record in records if record is not None)

    def _restore(self, backup: Path) -> Restored:
        record = self._record_in(backup)
        if record is None:  # the file wasn't changed yet
            _remove(backup)
            return Restored(Path(backup), removed=False, kept=None)
        path = Path(record.path)
        with _explained(path):
            kept = self._keep_others_changes(path, record)
            if record.existed:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, (backup / _ORIGINAL).read_bytes(), private=True)
                path.chmod(record.mode)
            else:
                path.unlink(missing_ok=True)
            _remove(backup)
        return Restored(path, removed=not record.existed, kept=kept)

    def _keep_others_changes(self, path: Path, record: _Record) -> Path | None:
        try:
            now = path.read_bytes()
        except FileNotFoundError:
            return None
        if _sha256(now) == record.written_sha256:
            return None
        kept = self._folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{path.name}"
        write_atomically(kept, now, private=True)
        return kept

    def _backup_of(self, path: Path) -> Path:
        return self._folder / hashlib.sha256(str(path).encode()).hexdigest()[:16]

    @staticmethod
    def _record_in(backup: Path) -> _Record | None:
        try:
            return _Record(**json.loads((backup / _RECORD).read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"the record of a backup, {backup / _RECORD}, can't be read ({error}); the file as it was is"
                f" {backup / _ORIGINAL}: put it back by hand and delete {backup}"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = file_lock.acquire(self._folder / _LOCK, LOCK_TIMEOUT_S)
        except Timeout as error:
            raise StoreError(
                f"another launch has held {self._folder / _LOCK} for {LOCK_TIMEOUT_S:.0f} seconds; try again"
            ) from error
        with lock:
            yield


def _back_up(path: Path, backup: Path) -> _Record:
    """Keep the file's bytes; return the record of it, which isn't written yet."""
    backup.mkdir(mode=0o700, exist_ok=True)
    try:
        original, mode = path.read_bytes(), path.stat().st_mode & 0o777
    except FileNotFoundError:
        return _Record(str(path), existed=False, mode=0o600, written_sha256="")
    write_atomically(backup / _ORIGINAL, original, private=True)
    return _Record(str(path), existed=True, mode=mode, written_sha256="")


def _remove(backup: Path) -> None:
    """Delete a backup that has done its work, its record first: what is left without one counts as none."""
    (backup / _RECORD).unlink(missing_ok=True)
    (backup / _ORIGINAL).unlink(missing_ok=True)
    backup.rmdir()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an error of the file system into a StoreError that names the file."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} can't be changed ({error.strerror or error}); check its permissions, or set the client"
            " up by hand: corral connect prints what to set"
        ) from error
