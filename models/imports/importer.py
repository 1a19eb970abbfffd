"""`Importer`: takes models of other programs into the store, without a copy of their bytes.

A file is checked before anything else: its header as for serving, its sha256 against the name that the other
program gave it, and llama.cpp loads all of it but the weights. On the store's own disk the store then has a
second name of the file (a hard link), so that it stays when the other program deletes its own; elsewhere,
or where that isn't allowed, the store only refers to it. Neither is ever written to. Interrupted at any
moment, the model is there or it isn't.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from models.gguf.info import read_gguf_info
from models.gguf.projector import PROJECTOR_KIND, PROJECTOR_NUMBERS, projector_type
from models.imports.candidate import Candidate, NotImported, Part
from models.imports.servable import checked_header, projector_of, servable_type
from models.reference import ModelRef
from models.store.gguf_manifest import manifest_of
from models.store.manifest import Manifest, ManifestFile, Source
from models.store.store import ModelStore, StoredModel

State = Literal["imported", "here", "planned", "refused"]
Link = Literal["hard", "reference"]
OnBytes = Callable[[int], None]
"""It is called with the number of bytes that were read just now."""

_READ_BYTES: Final = 4 << 20
_NO_HARD_LINK: Final = (
    errno.EXDEV,
    errno.EPERM,
    errno.EACCES,
    errno.EMLINK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
)
"""Another disk, another owner's file, or a file system without hard links answers with one of these."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one model's import. `model` is the reference to it here."""

    candidate: Candidate
    state: State
    model: ModelRef | None = None
    path: Path | None = None
    link: Link | None = None
    sha256: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    problem: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        candidate, model = self.candidate, self.model
        return {
            "program": candidate.program,
            "title": candidate.label,
            "state": self.state,
            "model": None if model is None else str(model),
            "name": None if model is None else model.name,
            "type": None if model is None else model.type,
            "size_bytes": candidate.size_bytes,
            "source_paths": [str(part.path) for part in candidate.parts],
            "path": None if self.path is None else str(self.path),
            "link": self.link,
            "sha256": list(self.sha256),
            "remarks": list(self.remarks),
            "settings": candidate.settings,
            "problem": self.problem,
        }


class Importer:
    """Imports one model after the other; `plan` tells what `run` would do, in the same order."""

    def __init__(self, store: ModelStore, on_bytes: OnBytes = lambda _: None) -> None:
        self._store = store
        self._on_bytes = on_bytes
        self._planned: dict[ModelRef, Candidate] = {}

    def plan(self, candidate: Candidate) -> Outcome:
        """Check everything but the sha256, and say what would be done. Changes nothing."""
        try:
            type_, remarks = servable_type(candidate)
            model, here = self._name(candidate, type_)
        except NotImported as problem:
            return Outcome(candidate, "refused", problem=problem.message)
        if here is not None:
            return here
        self._planned[model] = candidate
        return Outcome(candidate, "planned", model, remarks=remarks)

    def run(self, candidate: Candidate) -> Outcome:
        """Import one model. Raises StoreError; what is wrong with the model is in the outcome."""
        try:
            type_, remarks = servable_type(candidate)
            model, here = self._name(candidate, type_)
            if here is not None:
                return here
            with self._store.lock(model):
                model, here = self._name(candidate, type_)  # another import may have come first
                return here or self._take(candidate, model, remarks)
        except NotImported as problem:
            return Outcome(candidate, "refused", problem=problem.message)

    # --- the name

    def _name(self, candidate: Candidate, type_: str) -> tuple[ModelRef, Outcome | None]:
        """Return the name here, and the outcome if the model has it already."""
        stored = self._store.list()
        for name in candidate.names:
            model = ModelRef(kind="hub", repo=name, type=type_)
            alike = [one for one in stored if one.name == name]
            for one in alike:
                if type_ in one.types and _is_same(candidate, one, type_):
                    file = one.types[type_]
                    link: Link = "reference" if file.linked else "hard"
                    return model, Outcome(candidate, "here", model, file.path, link, file.sha256)
            if all(_is_room(candidate, one, type_) for one in alike) and model not in self._planned:
                return model, None
        raise NotImported(
            f"all its names here are those of other models ({' '.join(candidate.names)}); remove one of them"
        )

    # --- the files

    def _take(self, candidate: Candidate, model: ModelRef, remarks: tuple[str, ...]) -> Outcome:
        link: Link = "hard"
        files = _files(candidate, model)
        with self._store.staging(model) as staging:
            paths = _hard_links(files, staging.path)
            if paths:
                stored = staging.publish(self._manifest(candidate, model, paths, [one.name for one in paths]))
        if not paths:
            link = "reference"
            paths = [part.path.absolute() for part in files.values()]
            stored = self._store.link(self._manifest(candidate, model, paths, [*map(str, paths)]))
        file = stored.types[str(model.type)]
        return Outcome(candidate, "imported", model, file.path, link, file.sha256, remarks)

    def _manifest(
        self, candidate: Candidate, model: ModelRef, paths: Sequence[Path], names: Sequence[str]
    ) -> Manifest:
        """Return the manifest of the files at `paths`, which are read for it and are `names` in it.

        Behind the model's own may be its projector.
        """
        n_parts = len(candidate.parts)
        digests = tuple(map(self._digest, candidate.parts, paths[:n_parts]))
        info = checked_header(paths[0])
        source = Source(
            kind="path",
            path=str(candidate.parts[0].path),
            program=candidate.program,
            title=candidate.title,
        )
        file = ManifestFile(
            type=str(model.type),
            names=tuple(names[:n_parts]),
            size_bytes=candidate.size_bytes,
            sha256=digests,
            bits_per_weight=info.bits_per_weight,
            tensor_count=len(info.tensors),
            origin=str(candidate.parts[0].path),
        )
        manifest = manifest_of(info, model.name, source, file)
        if len(paths) == n_parts or candidate.projector is None:
            return manifest
        eyes = read_gguf_info(paths[n_parts])
        projector = ManifestFile(
            type=projector_type(eyes.ftype or PROJECTOR_NUMBERS[0]),
            names=(names[n_parts],),
            size_bytes=eyes.size_bytes,
            sha256=(self._digest(candidate.projector, paths[n_parts]),),
            bits_per_weight=eyes.bits_per_weight,
            tensor_count=len(eyes.tensors),
            origin=str(candidate.projector.path),
        )
        return msgspec.structs.replace(manifest, projector=projector)

    def _digest(self, part: Part, path: Path) -> str:
        """Return the sha256. Raises NotImported for a wrong one, and for a file that is being written to."""
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                before = os.fstat(file.fileno())
                left = part.size_bytes
                while left and (block := file.read(min(left, _READ_BYTES))):
                    left -= len(block)
                    digest.update(block)
                    self._on_bytes(len(block))
                after = os.fstat(file.fileno())
        except OSError as error:
            raise NotImported(f"{part.path} can't be read: {error.strerror or error}") from error
        if after.st_size != part.size_bytes or after.st_mtime_ns != before.st_mtime_ns:
            raise NotImported(f"{part.path} changed while it was read; import it once it is whole")
        if part.sha256 not in (None, digest.hexdigest()):
            raise NotImported(f"{part.path} hasn't the sha256 of its name: it is damaged; get it again")
        return digest.hexdigest()


def _is_same(candidate: Candidate, model: StoredModel, type_: str) -> bool:
    """True if the model has the candidate's very bytes, whatever it was made of."""
    file = model.types[type_]
    digests = tuple(part.sha256 for part in candidate.parts)
    if None not in digests:
        return file.sha256 == digests
    return len(file.paths) == len(candidate.parts) and all(
        path.samefile(part.path) for path, part in zip(file.paths, candidate.parts, strict=True)
    )


def _is_room(candidate: Candidate, model: StoredModel, type_: str) -> bool:
    """True if the candidate can have the name of a model that is here: another type of it, or a newer one.

    A name with an owner is the Hub's, and so a model of the Hub is another type of the same.
    """
    source = model.manifest.source
    origin = next((file.origin for file in model.manifest.files if file.type == type_), None)
    if source.program == candidate.program and source.title == candidate.title:
        return candidate.title == candidate.label or origin in (None, str(candidate.parts[0].path))
    return source.kind == "hub" and "/" in model.name and type_ not in model.types


def _files(candidate: Candidate, model: ModelRef) -> dict[str, Part]:
    """Return the files to take by the names that they get: the model's, and its projector if it fits."""
    stem = model.name.rpartition("/")[2]
    files = {_name_of(part, f"{stem}.{model.type}.gguf"): part for part in candidate.parts}
    if projector_of(candidate, checked_header(candidate.parts[0].path)) is not None:
        assert candidate.projector is not None
        files[_name_of(candidate.projector, f"{stem}.{PROJECTOR_KIND}.gguf")] = candidate.projector
    return files


def _name_of(part: Part, other: str) -> str:
    """Return a file's own name, or the `other` one for a file that isn't named as a GGUF."""
    return part.path.name if part.path.name.lower().endswith(".gguf") else other


def _hard_links(files: Mapping[str, Part], folder: Path) -> list[Path]:
    """Give the files second names in `folder`, and return those; none where that can't be."""
    paths: list[Path] = []
    for name, part in files.items():
        try:
            (folder / name).hardlink_to(part.path.resolve(strict=True))
        except OSError as error:
            if error.errno not in _NO_HARD_LINK:
                raise
            for path in paths:
                path.unlink()
            return []
        paths.append(folder / name)
    return paths
