"""`StoredModel` and `StoredFile`: a manifest and the files it speaks of. Reads sizes, changes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from models.errors import StoreError
from models.gguf.projector import projector_numbers
from models.reference import ModelRef
from models.store.manifest import Manifest, ManifestFile

_COMMIT_PREFIX = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One type's GGUF. `path` is the file to load: the first of `paths` when it is split."""

    type: str
    paths: tuple[Path, ...]
    size_bytes: int
    sha256: tuple[str, ...]
    bits_per_weight: float | None
    tensor_count: int | None
    linked: bool
    """The file is the Hub's cache's or another program's; removing it from the store doesn't delete it."""

    @property
    def path(self) -> Path:
        return self.paths[0]

    @property
    def own_bytes(self) -> int:
        """The bytes that are free again once the file is removed: not those that another program has, too."""
        return 0 if self.linked else sum(_bytes_alone(path) for path in self.paths)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model at a revision. `types` has the complete files only, by type, in the manifest's order.

    `projector_file` is the GGUF with what lets the model see, for all types; None for a model of text alone,
    or where that file isn't complete.
    """

    manifest: Manifest
    folder: Path
    types: dict[str, StoredFile]
    projector_file: StoredFile | None = None

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def revision(self) -> str | None:
        return self.manifest.source.revision

    @property
    def projector(self) -> Path | None:
        """The projector to load beside the file of any type; None for a model of text alone."""
        return None if self.projector_file is None else self.projector_file.path

    @property
    def everything(self) -> tuple[StoredFile, ...]:
        """The complete files of all types, and the projector."""
        own = tuple(self.types.values())
        return own if self.projector_file is None else (*own, self.projector_file)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.everything)

    def files_of(self, type_: str | None) -> tuple[StoredFile, ...]:
        """Return the complete files that go with one type, or with all: with the last, the projector too."""
        if all(type_ in (None, file.type) for file in self.manifest.files):
            return self.everything
        return tuple(file for file in self.types.values() if file.type == type_)


def stored_model(manifest_path: Path, manifest: Manifest) -> tuple[StoredModel, list[str]]:
    """Return the model, and one line for each file that is missing or has another size."""
    complete: dict[str, StoredFile] = {}
    problems: list[str] = []
    for entry in manifest.everything:
        file = _stored_file(manifest_path.parent, entry)
        found = _size_bytes(file.paths)
        if found == entry.size_bytes:
            complete[entry.type] = file
            continue
        fact = "is missing" if found is None else f"has {found:,} bytes instead of {entry.size_bytes:,}"
        what = f"{manifest.name}:{entry.type}"
        problems.append(f"{what}: {file.path} {fact}; run: corral {_command_for(manifest, entry, file)}")
    projector = None if manifest.projector is None else complete.pop(manifest.projector.type, None)
    return StoredModel(manifest, manifest_path.parent, complete, projector), problems


def matches(manifest: Manifest, ref: ModelRef) -> bool:
    """True if `ref`, its type aside, means this model.

    A bare name also finds what was made from a local folder of that name; a path only what was made from
    it.
    """
    source = manifest.source
    if ref.kind == "demo":
        return source.kind == "demo"
    if ref.kind == "path":
        return source.kind == "path" and source.path == str(ref.path)
    if manifest.name != ref.name:
        return False
    if ref.revision is None or ref.revision in (source.revision, source.requested):
        return True
    wanted = ref.revision.lower()
    return bool(source.revision and _COMMIT_PREFIX.fullmatch(wanted) and source.revision.startswith(wanted))


def model_folder_name(name: str) -> str:
    """Return `org--name` for `org/name`. Raises StoreError for a name that can't be a folder's."""
    folder = name.replace("/", "--")
    if not folder or folder in (".", "..") or "\0" in folder or len(folder.encode()) > 200:
        raise StoreError(f"{name!r} can't be a model's name; give its folder a short, plain name")
    return folder


def revision_folder_name(revision: str | None) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", revision or "").lstrip(".")[:80] or "unversioned"


def _command_for(manifest: Manifest, entry: ManifestFile, file: StoredFile) -> str:
    """Return the command that brings a file back."""
    source = manifest.source
    if source.program is not None:
        return f"import {source.program} {source.title}"
    if entry is not manifest.projector:
        return f"{'pull' if file.linked else 'quantize'} {manifest.name}:{entry.type}"
    if file.linked:
        return f"pull {manifest.name}"
    return f"quantize {manifest.name} --mmproj-type {projector_numbers(entry.type)}"


def _stored_file(folder: Path, entry: ManifestFile) -> StoredFile:
    return StoredFile(
        type=entry.type,
        paths=tuple(folder / name for name in entry.names),
        size_bytes=entry.size_bytes,
        sha256=entry.sha256,
        bits_per_weight=entry.bits_per_weight,
        tensor_count=entry.tensor_count,
        linked=Path(entry.names[0]).is_absolute(),
    )


def _bytes_alone(path: Path) -> int:
    """Return the file's size; 0 if it has another name as well, or is gone."""
    try:
        status = path.stat()
    except OSError:
        return 0
    return status.st_size if status.st_nlink == 1 else 0


def _size_bytes(paths: tuple[Path, ...]) -> int | None:
    """Return the bytes of all files together; None if one is missing."""
    try:
        return sum(path.stat().st_size for path in paths)
    except OSError:
        return None
