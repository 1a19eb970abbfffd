"""`manifest.json`, which says what the store has of one model at one revision: structs and file form.

A newer Corral may have fields that this one doesn't know: they are kept, and written back as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from models.errors import StoreError
from models.store.atomic_write import IN_THE_LOG, write_atomically

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the file."""

    unknown: dict[str, Any] = {}
    """The members that this Corral doesn't know."""


class Source(_Entry, frozen=True, kw_only=True):
    """The origin of the weights."""

    kind: Literal["hub", "path", "demo"]
    repo: str | None = None
    revision: str | None = None
    """The commit (hub), or `fingerprint` of the local files: equal revisions mean equal weights."""
    requested: str | None = None
    """The branch or tag that was requested, if any."""
    path: str | None = None
    sha256: dict[str, str] = {}
    """The sha256 of the weights' files, by name, as far as they are known."""
    recipe: str | None = None
    """The merge, or the adapters, that were applied: YAML."""
    program: str | None = None
    """The other program whose model it is, as `corral import` calls it; `title` is the model's name there."""
    title: str | None = None


class ManifestFile(_Entry, frozen=True, kw_only=True):
    """One type's GGUF: one file, or several when it is split; `names`, in order, have one `sha256` each.

    A name is relative to the manifest's folder, or absolute for a file that stays where it is.
    """

    type: str
    names: tuple[str, ...]
    size_bytes: int
    sha256: tuple[str, ...]
    bits_per_weight: float | None = None
    tensor_count: int | None = None
    tensor_types: dict[str, int] = {}
    """The number of tensors of each ggml type."""
    imatrix: str | None = None
    """The importance matrix that it was made with: its file, and the text it was computed from."""
    calibration: str | None = None
    """The text that its rounding was calibrated on, and how much of it."""
    quality: dict[str, Any] | None = None
    """The measured quality: perplexity, divergence from the 16-bit weights, and others."""
    origin: str | None = None
    """The path of the other program's file, of an imported one."""

    @classmethod
    def single(
        cls,
        type: str,  # noqa: A002 - a type, as everywhere
        name: str,
        size_bytes: int,
        sha256: str,
        *,
        bits_per_weight: float | None = None,
        tensor_count: int | None = None,
    ) -> ManifestFile:
        """Make the usual entry: a type in one file."""
        return cls(
            type=type,
            names=(name,),
            size_bytes=size_bytes,
            sha256=(sha256,),
            bits_per_weight=bits_per_weight,
            tensor_count=tensor_count,
        )


class Manifest(_Entry, frozen=True, kw_only=True):
    """One model at one revision, with every type that was made of it. `created` is ISO 8601, UTC."""

    name: str
    source: Source
    files: tuple[ManifestFile, ...]
    created: str
    tools: dict[str, str] = {}
    """The versions of corral, llama_cpp_python and gguf."""
    architecture: str | None = None
    parameters: int | None = None
    context_length: int | None = None
    projector: ManifestFile | None = None
    """The GGUF beside the model's own with what lets it see (`mmproj`): one for all its types."""
    prompt_format: str | None = None
    quality: dict[str, Any] | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def everything(self) -> tuple[ManifestFile, ...]:
        """The files of all types, and the projector."""
        return self.files if self.projector is None else (*self.files, self.projector)


class _Version(msgspec.Struct):
    schema_version: int


def merge_manifests(old: Manifest | None, new: Manifest) -> Manifest:
    """Return `new` with the types that only `old` has; `old` also fills in what else `new` lacks."""
    if old is None:
        return new
    replaced = {file.type for file in new.files}
    return msgspec.structs.replace(
        new,
        files=(*(file for file in old.files if file.type not in replaced), *new.files),
        projector=new.projector or old.projector,
        prompt_format=new.prompt_format or old.prompt_format,
        quality={**(old.quality or {}), **(new.quality or {})} or None,
        unknown={**old.unknown, **new.unknown},
    )


def with_quality(manifest: Manifest, type: str, quality: dict[str, Any]) -> Manifest:  # noqa: A002 - a type, as everywhere
    """Return `manifest` with `quality` put over what it had of the file of one type."""
    files = tuple(
        msgspec.structs.replace(file, quality={**(file.quality or {}), **quality})
        if file.type == type
        else file
        for file in manifest.files
    )
    return msgspec.structs.replace(manifest, files=files)


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest. Raises FileNotFoundError; StoreError if the file is no manifest of ours."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(
            f"{path} can't be read: {error.strerror}; check its permissions",
            f"a model's record can't be read: {error.strerror}; {IN_THE_LOG}",
        ) from error
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{path} has schema version {version} and this Corral reads {SCHEMA_VERSION};"
                f" upgrade Corral, or delete {path.parent} and make the model again",
                f"a model's record has schema version {version} and this Corral reads {SCHEMA_VERSION};"
                " upgrade Corral, or remove the model and make it again",
            )
        manifest = _manifest_of(msgspec.json.decode(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _corrupt(path, str(error)) from error
    reason = _inconsistency(manifest)
    if reason:
        raise _corrupt(path, reason)
    return manifest


def _corrupt(path: Path, reason: str) -> StoreError:
    return StoreError(
        f"{path} is corrupt ({reason}); delete {path.parent}, and make the model again",
        "a model's record is corrupt; the server's log says which: delete it, and make the model again",
    )


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest atomically and durably. Raises OSError."""
    written = _written(msgspec.to_builtins(manifest))
    write_atomically(path, msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n")


def _manifest_of(value: Any) -> Manifest:
    """Return the manifest of what the file says. Raises msgspec.ValidationError."""
    value = _sorted_out(value, Manifest)
    if isinstance(value, dict):
        value["source"] = _sorted_out(value.get("source"), Source)
        if isinstance(files := value.get("files"), list):
            value["files"] = [_sorted_out(file, ManifestFile) for file in files]
        value["projector"] = _sorted_out(value.get("projector"), ManifestFile)
    return msgspec.convert(value, Manifest)


def _sorted_out(value: Any, kind: type[_Entry]) -> Any:
    """Return an object's members with those that aren't known in `unknown`; anything else as it is."""
    if not isinstance(value, dict):
        return value
    known = set(kind.__struct_fields__) - {"unknown"}
    members = {name: member for name, member in value.items() if name in known}
    return {**members, "unknown": {name: value[name] for name in value if name not in known}}


def _written(entry: Any) -> Any:
    """Return an object of the file as it is written: what isn't known stands beside the rest."""
    if isinstance(entry, list | tuple):
        return [_written(each) for each in entry]
    if not isinstance(entry, dict):
        return entry
    unknown = entry.pop("unknown")
    for name in ("source", "files", "projector"):
        if name in entry:
            entry[name] = _written(entry[name])
    return {**entry, **unknown}


def _inconsistency(manifest: Manifest) -> str | None:
    types = [file.type for file in manifest.files]
    if len(set(types)) != len(types):
        return "a type is listed twice"
    for file in manifest.everything:
        if not file.names or len(file.names) != len(file.sha256):
            return f"{file.type} has {len(file.names)} names and {len(file.sha256)} checksums"
        if file.size_bytes < 0:
            return f"{file.type} has a negative size"
        if any(".." in Path(name).parts or not name for name in file.names):
            return f"{file.type} names a file outside the store"
    return None
