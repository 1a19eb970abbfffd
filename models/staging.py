"""Folders in which files are written before they are published; sweeps those whose owner died."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from models.durable import disk_errors, fsync_file, fsync_folder
from models.errors import StoreError
from models.locks import Held, edit_lock, try_lock
from models.manifest import Manifest

if TYPE_CHECKING:
    from models.stored import StoredModel

    Publish = Callable[[Manifest, Path | None], StoredModel]


class Staging:
    """One open staging folder. Made by `ModelStore.staging`; write into `path`, then `publish`."""

    def __init__(self, path: Path, alive: Held, publish: Publish) -> None:
        self.path = path
        self.alive = alive
        self._publish = publish
        self._published = False

    def publish(self, manifest: Manifest) -> StoredModel:
        """Make the files named in `manifest` (plain names in this folder) part of the store.

        Types published before, and not named now, stay. Raises StoreError, and publishes nothing, when a
        file is missing or its size isn't the manifest's.
        """
        if self._published:
            raise StoreError(f"{manifest.name} has been published; open a new staging folder for more")
        with disk_errors(f"publish {manifest.name}", self.path):
            return self._publish_files(manifest)

    def _publish_files(self, manifest: Manifest) -> StoredModel:
        for file in manifest.files:
            self._check(file.names, file.size_bytes)
        for name in {name for file in manifest.files for name in file.names}:
            fsync_file(self.path / name)
        fsync_folder(self.path)
        placed = tuple(
            msgspec.structs.replace(file, names=tuple(f"{self.path.name}/{name}" for name in file.names))
            for file in manifest.files
        )
        model = self._publish(msgspec.structs.replace(manifest, files=placed), self.path)
        self._published = True
        return model

    def _check(self, names: tuple[str, ...], size_bytes: int) -> None:
        total = 0
        for name in names:
            path = self.path / name
            if Path(name).name != name or not path.is_file():
                raise StoreError(f"there is no file {name!r} in {self.path}; nothing was published")
            total += path.stat().st_size
        if total != size_bytes:
            raise StoreError(
                f"{' '.join(names)}: {total:,} bytes were written and {size_bytes:,} were planned;"
                f" nothing was published"
            )


class StagingArea:
    """The folder of staging folders; each has a lock that says its owner is alive."""

    def __init__(self, folder: Path, locks: Path) -> None:
        self._folder = folder
        self._locks = locks

    def open(self, publish: Publish) -> Staging:
        """A new, empty folder. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._edit():
            name = secrets.token_hex(6)
            alive = try_lock(self._locks / f"{name}.lock")
            assert alive is not None, "the name is new"
            try:
                path = self._folder / name
                path.mkdir()
            except BaseException:
                alive.release(unlink=True)
                raise
        return Staging(path, alive, publish)

    def close(self, staging: Staging) -> None:
        """Delete what was not published."""
        shutil.rmtree(staging.path, ignore_errors=True)
        staging.alive.release(unlink=True)

    def sweep(self) -> None:
        """Delete the folders of dead owners."""
        if not self._folder.is_dir():
            return
        with self._edit():
            for path in self._folder.iterdir():
                lock_path = self._locks / f"{path.name}.lock"
                held = try_lock(lock_path)
                if held is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    held.release(unlink=True)

    def _edit(self) -> AbstractContextManager[None]:
        return edit_lock(self._locks / "area.lock")
