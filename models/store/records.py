"""`StoredModel` and `StoredFile`: a manifest and the files it speaks of. Reads sizes, changes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from models.errors import StoreError
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
    """A model at a revision. `types` has the complete files only, by type, in the manifest's order."""

    manifest: Manifest
    folder: Path
    types: dict[str, StoredFile]

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def revision(self) -> str | None:
        return self.manifest.source.revision

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.types.values())


def stored_model(manifest_path: Path, manifest: Manifest) -> tuple[StoredModel, list[str]]:
    """Return the model, and one line for each file that is missing or has another size."""
    types: dict[str, StoredFile] = {}
    problems: list[str] = []
    for entry in manifest.files:
        file = _stored_file(manifest_path.parent, entry)
        found = _size_bytes(file.paths)
        if found == entry.size_bytes:
            types[entry.type] = file
            continue
        fact = "is missing" if found is None else f"has {found:,} bytes instead of {entry.size_bytes:,}"
        what = f"{manifest.name}:{entry.type}"
        problems.append(f"{what}: {file.path} {fact}; run: corral {_command_for(manifest, what, file)}")
    return StoredModel(manifest, manifest_path.parent, types), problems


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


def _command_for(manifest: Manifest, what: str, file: StoredFile) -> str:
    """Return the command that brings a file back."""
    source = manifest.source
    if source.program is not None:
        return f"import {source.program} {source.title}"
    return f"{'pull' if file.linked else 'quantize'} {what}"


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
