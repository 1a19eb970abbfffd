"""`ModelStore`: the quantized models on this machine, to list, publish and remove.

    CORRAL_HOME/
        models/org--name/<revision>/manifest.json          says which files there are
        models/org--name/<revision>/<publication>/x.gguf   the files of one `publish`
        staging/<publication>/                             files being written

A model is a name at a revision. Publishing is one rename of the staging folder and one of the manifest,
in this order: killed anywhere, what was listed before is listed after. Folders that no manifest mentions
are swept by the next `staging()`. Without a revision, a reference means the newest one; `remove` takes all.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from models.errors import DiskFull, ModelNotFound, StoreError
from models.paths import Paths
from models.reference import ModelRef
from models.store.atomic_write import disk_errors, disk_full, fsync_folder
from models.store.locks import build_lock, edit_lock, use_lock, users
from models.store.manifest import (
    MANIFEST_NAME,
    Manifest,
    merge_manifests,
    read_manifest,
    with_quality,
    write_manifest,
)
from models.store.prefixes import remove_prefixes
from models.store.records import (
    StoredFile,
    StoredModel,
    matches,
    model_folder_name,
    revision_folder_name,
    stored_model,
)
from models.store.staging import Staging, StagingArea, remove_if_empty, sweep_models, sweep_revision

__all__ = ["ModelStore", "Staging", "StoreListing", "StoredFile", "StoredModel"]

_log = logging.getLogger("corral.store")


@dataclass(frozen=True, slots=True)
class StoreListing:
    """All complete models, and one line for each thing that is not as its manifest says."""

    models: tuple[StoredModel, ...]
    problems: tuple[str, ...]


class ModelStore:
    """The store. Several processes and threads may use it at once; it keeps no state of its own."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._staging = StagingArea(paths.staging_dir, paths.locks_dir / "staging")

    # --- reading

    def list(self) -> list[StoredModel]:
        """Return every model with at least one complete file, by name, the newest revision first."""
        return [*self.scan().models]

    def scan(self) -> StoreListing:
        """Return `list` and what is wrong; a corrupt manifest hides only its own model."""
        models: list[StoredModel] = []
        problems: list[str] = []
        for path in self._manifest_paths("*"):
            try:
                model, troubles = stored_model(path, read_manifest(path))
            except FileNotFoundError:  # removed since the folder was read
                continue
            except StoreError as error:
                problems.append(error.message)
                continue
            problems.extend(troubles)
            if model.types:
                models.append(model)
        models.sort(key=lambda model: model.manifest.created, reverse=True)
        models.sort(key=lambda model: model.name)
        return StoreListing(tuple(models), tuple(problems))

    def find(self, ref: ModelRef, revision: str | None = None) -> StoredModel | None:
        """Return the newest model that `ref` means and that has `ref.type` if it names one.

        `revision` (a commit or fingerprint) narrows further: a local model that has changed is not found.
        """
        for model in self.scan().models:
            if not matches(model.manifest, ref):
                continue
            if revision is not None and model.manifest.source.revision != revision:
                continue
            if ref.type is None or ref.type in model.types:
                return model
        return None

    def get(self, ref: ModelRef) -> StoredModel:
        """Return what `find` does. Raises ModelNotFound, naming the types that there are."""
        found = self.find(ref)
        if found is not None:
            return found
        other = self.find(ref.with_type(None))
        if other is not None:
            types = " ".join(other.types)
            raise ModelNotFound(f"{ref} is not here, only {types}; run: corral quantize {ref}")
        is_short = ref.repo is not None and "/" not in ref.repo
        fix = f"corral search {ref.repo} finds it on the Hub" if is_short else f"run: corral quantize {ref}"
        raise ModelNotFound(f"{ref} is not here; see corral list, or {fix}")

    def free_bytes(self) -> int:
        """Free space on the store's disk."""
        folder = self.paths.home
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def require_free(self, needed_bytes: int, what: str) -> None:
        """Raise DiskFull if `what` doesn't fit on the store's disk.

        What interrupted runs left, to be resumed, is deleted before that.
        """
        if needed_bytes > self.free_bytes():
            self._staging.sweep(everything=True)
        free = self.free_bytes()
        if needed_bytes > free:
            raise DiskFull(
                f"{what} needs {needed_bytes:,} bytes and {self.paths.home} has {free:,} free;"
                f" free some, or set CORRAL_HOME elsewhere",
                f"{what} needs {needed_bytes:,} bytes and the disk of this server has {free:,} free;"
                " free some, then try again",
            )

    # --- locks

    def lock(
        self,
        ref: ModelRef,
        *,
        timeout_s: float | None = None,
        on_wait: Callable[[int | None], None] | None = None,
    ) -> AbstractContextManager[None]:
        """Hold a lock while `ref` is being made, so that no two processes make it; `find` again inside.

        Waits for `timeout_s` (None: without limit), after a call of `on_wait` with the holder's process id;
        then raises StoreError.
        """
        path = self.paths.locks_dir / f"{model_folder_name(ref.name)}.build.lock"
        return build_lock(path, ref.name, timeout_s, on_wait)

    def use(self, path: Path) -> AbstractContextManager[None]:
        """Hold a lock while the file at `path` is served, so that it isn't removed meanwhile."""
        return use_lock(self.paths.locks_dir / "use", path)

    # --- writing

    @contextmanager
    def staging(self, ref: ModelRef, key: str | None = None) -> Iterator[Staging]:
        """Open a new folder to write files into; `Staging.publish` makes them part of the store.

        With a `key` it is the folder that an interrupted run of the same key left, if there is one. Whatever
        was not published is deleted at the end, unless `Staging.keep` says otherwise. "No space left" inside
        the block becomes DiskFull.
        """
        with disk_errors(f"make {ref.name}", self.paths.home):
            self._staging.sweep()
            sweep_models(self.paths.models_dir, self.paths.locks_dir)
            staging = self._staging.open(self._publish, None if key is None else (ref.name, key))
        try:
            with disk_full(f"make {ref.name}", self.paths.home):
                yield staging
        finally:
            self._staging.close(staging)

    def discard_interrupted(self, name: str) -> None:
        """Delete what interrupted runs left of a model, which could be gone on with."""
        with disk_errors(f"discard {name}", self.paths.home):
            self._staging.discard(name)

    def link(self, manifest: Manifest) -> StoredModel:
        """List files that stay where they are (absolute names, as in the Hub's cache)."""
        for file in manifest.everything:
            if not all(Path(name).is_absolute() for name in file.names):
                raise StoreError(
                    f"{manifest.name}: {file.names[0]} is not absolute; only absolute paths can be linked",
                    f"{manifest.name}: its file's path is not absolute, and only absolute ones can be linked",
                )
        with disk_errors(f"publish {manifest.name}", self.paths.home):
            return self._publish(manifest, None)

    def add_quality(self, file: Path, quality: dict[str, Any]) -> bool:
        """Put a file's measured `quality` over what is kept of it. Return False if the file isn't here."""
        for model in self.list():
            for type_, stored in model.types.items():
                if file in stored.paths:
                    path = model.folder / MANIFEST_NAME
                    with (
                        disk_errors(f"note the quality of {model.name}", self.paths.home),
                        self._edit(model.name),
                    ):
                        write_manifest(path, with_quality(read_manifest(path), type_, quality))
                    return True
        return False

    def remove(self, ref: ModelRef, type: str | None = None) -> tuple[StoredFile, ...]:  # noqa: A002 - a type, as everywhere
        """Remove one type (`type`, or `ref`'s own) or all of a model; returns what went.

        With the last type goes the projector, which is of no use alone.
        The prefixes that servers kept of them go, too. Linked files stay where they are. Raises
        ModelNotFound, or StoreError while a process serves the file.
        """
        wanted = ref.with_type(type or ref.type)
        removed: tuple[StoredFile, ...] = ()
        found = False
        with disk_errors(f"remove {wanted}", self.paths.home), self._edit(ref.name):
            for path in self._manifest_paths(model_folder_name(ref.name)):
                try:
                    manifest = read_manifest(path)
                except StoreError:
                    if wanted.type is None:
                        found = True
                        shutil.rmtree(path.parent)
                    continue
                if matches(manifest, wanted) and (
                    wanted.type is None or any(file.type == wanted.type for file in manifest.files)
                ):
                    found = True
                    removed += self._remove_from(path, manifest, wanted)
            remove_prefixes(self.paths.prefixes_dir, (path for file in removed for path in file.paths))
        if not found:
            raise ModelNotFound(f"{wanted} is not here; see corral list")
        return removed

    # --- inside

    def _publish(self, manifest: Manifest, staged: Path | None) -> StoredModel:
        """Publish complete, synced files in `staged`, in the order that the module docstring gives."""
        folder = self.paths.models_dir / model_folder_name(manifest.name)
        folder /= revision_folder_name(manifest.source.revision)
        with self._edit(manifest.name):
            folder.mkdir(parents=True, exist_ok=True)
            fsync_folder(folder.parent)
            fsync_folder(folder.parent.parent)
            if staged is not None:
                staged.rename(folder / staged.name)
                fsync_folder(folder)
            path = folder / MANIFEST_NAME
            whole = merge_manifests(_read_or_set_aside(path), manifest)
            write_manifest(path, whole)
            sweep_revision(folder, whole)
            return stored_model(path, whole)[0]

    def _remove_from(self, path: Path, manifest: Manifest, wanted: ModelRef) -> tuple[StoredFile, ...]:
        model, _ = stored_model(path, manifest)
        going = model.files_of(wanted.type)
        for file in going:
            serving = users(self.paths.locks_dir / "use", file.path)
            if serving:
                raise StoreError(
                    f"{model.name}:{file.type} is being served by process {serving[0]};"
                    " stop that server, then remove it"
                )
        staying = tuple(file for file in manifest.files if wanted.type not in (None, file.type))
        if staying:
            left = msgspec.structs.replace(manifest, files=staying)
            write_manifest(path, left)
            sweep_revision(path.parent, left)
        else:
            path.unlink()
            shutil.rmtree(path.parent)
            remove_if_empty(path.parent.parent)
        return going

    def _manifest_paths(self, model_folder: str) -> Iterator[Path]:
        if self.paths.models_dir.is_dir():
            for folder in sorted(self.paths.models_dir.glob(f"{_escaped(model_folder)}/*")):
                yield folder / MANIFEST_NAME

    def _edit(self, name: str) -> AbstractContextManager[None]:
        return edit_lock(self.paths.locks_dir / f"{model_folder_name(name)}.edit.lock")


def _read_or_set_aside(path: Path) -> Manifest | None:
    """Return the manifest; None if there is none, or a corrupt one, which is set aside to be looked at."""
    try:
        return read_manifest(path)
    except FileNotFoundError:
        return None
    except StoreError as error:
        aside = path.with_suffix(".corrupt")
        path.replace(aside)
        _log.warning("%s; set aside as %s", error.message, aside)
        return None


def _escaped(pattern: str) -> str:
    """Return a folder's name as glob takes it; `*` alone means any."""
    if pattern == "*":
        return pattern
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in pattern)
