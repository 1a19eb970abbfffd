"""`Upload`: a file that is being written; it is in its place once it is whole and on the disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from models.errors import DiskFull, StoreError
from models.store.atomic_write import FREE_SOME, IN_THE_LOG, is_full


class Upload:
    """One new file. Until `keep` it has another name, and `discard` deletes it. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_bytes = 0
        self._part = path.with_name(f"{path.name}.part")
        with writing(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd: int | None = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    async def write(self, data: bytes) -> None:
        """Add to the file."""
        await asyncio.to_thread(self._write, data)

    async def keep(self) -> None:
        """Put the whole file into its place."""
        await asyncio.to_thread(self._keep)

    def discard(self) -> None:
        """Delete the file unless it is in its place."""
        self._close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        assert self._fd is not None
        with writing(self.path):
            write_all(self._fd, data)
        self.n_bytes += len(data)

    def _keep(self) -> None:
        assert self._fd is not None
        with writing(self.path):
            os.fsync(self._fd)
            self._close()
            self._part.rename(self.path)
            sync_folder(self.path.parent)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, however often it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a power failure."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise the errors of a file that can't be written as ours."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        kind, fix = (DiskFull, FREE_SOME) if is_full(error) else (StoreError, f"{why}; {IN_THE_LOG}")
        raise kind(
            f"can't write {path}: {why}; free some space or check the permissions",
            f"can't write the file: {fix}",
        ) from error
