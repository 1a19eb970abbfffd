"""Staging folders, in which files are written before they are published, and the sweep of remains.

A folder with a key says what work it holds: when its owner has died, the next to open one with the same key
goes on with what is there. For `KEPT_S` nobody sweeps it, unless the space is needed. Publications that no
manifest mentions any more are swept too.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import msgspec

from models.errors import CorralError, StoreError
from models.store.atomic_write import disk_errors, fsync_file, fsync_folder
from models.store.locks import HeldLock, edit_lock, try_lock
from models.store.manifest import MANIFEST_NAME, Manifest, ManifestFile, read_manifest
from models.store.records import StoredModel

Publish = Callable[[Manifest, Path | None], StoredModel]
"""It makes the files of a manifest, staged in the folder if there is one, part of the store."""

KEY_NAME: Final = "work"
"""This file is in each folder that can be resumed: it has the model's name and the key, a line each."""

KEPT_S: Final = 7 * 24 * 3600
"""A folder that can be resumed is kept for this many seconds after its owner died."""


class Staging:
    """An open staging folder, made by `ModelStore.staging`: write into `path`, then `publish`.

    With `keep`, what is not published stays for the next to open the same key.
    """

    def __init__(self, path: Path, alive: HeldLock, publish: Publish) -> None:
        self.path = path
        self.alive = alive
        self._publish = publish
        self._published = False
        self.keep = False

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
        for file in manifest.everything:
            self._check(file.names, file.size_bytes)
        (self.path / KEY_NAME).unlink(missing_ok=True)
        for name in {name for file in manifest.everything for name in file.names}:
            fsync_file(self.path / name)
        fsync_folder(self.path)
        placed = msgspec.structs.replace(
            manifest,
            files=tuple(self._placed(file) for file in manifest.files),
            projector=None if manifest.projector is None else self._placed(manifest.projector),
        )
        model = self._publish(placed, self.path)
        self._published = True
        return model

    def _placed(self, file: ManifestFile) -> ManifestFile:
        return msgspec.structs.replace(file, names=tuple(f"{self.path.name}/{name}" for name in file.names))

    def _check(self, names: tuple[str, ...], size_bytes: int) -> None:
        total = 0
        for name in names:
            path = self.path / name
            if Path(name).name != name or not path.is_file():
                raise StoreError(
                    f"there is no file {name!r} in {self.path}; nothing was published",
                    f"there is no file {name!r}; nothing was published",
                )
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

    def open(self, publish: Publish, work: tuple[str, str] | None = None) -> Staging:
        """Open a new, empty folder; with `work` (a model's name and a key) the one that a dead owner left.

        What others left of the same model, with another key, is of no use any more: it goes. Raises OSError.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._edit():
            found = None if work is None else self._take_over(work)
            path, alive = found or self._create(work)
        return Staging(path, alive, publish)

    def close(self, staging: Staging) -> None:
        """Delete what was not published, unless it is to be kept."""
        if not staging.keep:
            shutil.rmtree(staging.path, ignore_errors=True)
        staging.alive.release(unlink=True)

    def sweep(self, *, everything: bool = False) -> None:
        """Delete the folders of dead owners; resumable ones only when they are old, or with `everything`."""
        if not self._folder.is_dir():
            return
        with self._edit():
            for path, held in self._dead():
                if everything or _key_of(path) is None or time.time() - path.stat().st_mtime > KEPT_S:
                    shutil.rmtree(path, ignore_errors=True)
                held.release(unlink=True)

    def discard(self, name: str) -> None:
        """Delete the folders that dead owners left of one model."""
        if not self._folder.is_dir():
            return
        with self._edit():
            for path, held in self._dead():
                whose = _key_of(path)
                if whose is not None and whose[0] == name:
                    shutil.rmtree(path, ignore_errors=True)
                held.release(unlink=True)

    def _create(self, work: tuple[str, str] | None) -> tuple[Path, HeldLock]:
        name = secrets.token_hex(6)
        alive = try_lock(self._locks / f"{name}.lock")
        assert alive is not None, "the name is new"
        path = self._folder / name
        try:
            path.mkdir()
            if work is not None:
                (path / KEY_NAME).write_text("\n".join(work), encoding="utf-8")
        except BaseException:  # nobody else gives the lock back
            alive.release(unlink=True)
            raise
        return path, alive

    def _take_over(self, work: tuple[str, str]) -> tuple[Path, HeldLock] | None:
        name, key = work
        found: tuple[Path, HeldLock] | None = None
        for path, held in self._dead():
            whose = _key_of(path)
            if whose == (name, key) and found is None:
                found = path, held
                continue
            if whose is not None and whose[0] == name:
                shutil.rmtree(path, ignore_errors=True)
            held.release(unlink=True)
        return found

    def _dead(self) -> Iterator[tuple[Path, HeldLock]]:
        """Yield every folder that nobody alive owns, with its lock held for the caller."""
        for path in sorted(self._folder.iterdir()):
            held = try_lock(self._locks / f"{path.name}.lock")
            if held is not None:
                yield path, held

    def _edit(self) -> AbstractContextManager[None]:
        return edit_lock(self._locks / "area.lock")


def _key_of(path: Path) -> tuple[str, str] | None:
    """Return the model's name and the key of a folder that can be resumed; None for another."""
    with contextlib.suppress(OSError, ValueError):
        name, key = (path / KEY_NAME).read_text(encoding="utf-8").split("\n")
        return name, key
    return None


def sweep_models(models_dir: Path, locks_dir: Path) -> None:
    """Delete publications that no manifest mentions; a manifest that can't be read keeps its own."""
    if not models_dir.is_dir():
        return
    for model_folder in models_dir.iterdir():
        with edit_lock(locks_dir / f"{model_folder.name}.edit.lock"):
            for folder in model_folder.iterdir() if model_folder.is_dir() else ():
                try:
                    manifest = read_manifest(folder / MANIFEST_NAME)
                except FileNotFoundError:
                    shutil.rmtree(folder, ignore_errors=True)
                except CorralError:
                    continue
                else:
                    sweep_revision(folder, manifest)


def sweep_revision(folder: Path, manifest: Manifest) -> None:
    """Delete the weights in `folder` that `manifest` doesn't mention, and publications without any it does.

    An evaluation stays with its file. A failure is left for the next sweep.
    """
    kept = {folder / name for file in manifest.everything for name in file.names}
    for publication in folder.iterdir():
        if not publication.is_dir():
            continue
        files = list(publication.iterdir())
        is_empty = kept.isdisjoint(files)
        for file in files:
            if file not in kept and (is_empty or file.suffix == ".gguf"):
                file.unlink(missing_ok=True)
        remove_if_empty(publication)


def remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
