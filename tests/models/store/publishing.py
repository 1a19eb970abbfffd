from __future__ import annotations

from pathlib import Path

from models.reference import ModelRef
from models.store.manifest import Manifest, ManifestFile, Source
from models.store.records import StoredModel
from models.store.store import ModelStore

REF = ModelRef.parse("org/name")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


OTHER_COMMIT = "f" * 40


def manifest(
    *files: ManifestFile,
    revision: str = COMMIT,
    created: str = "2026-01-01T00:00:00Z",
    projector: ManifestFile | None = None,
) -> Manifest:
    source = Source(kind="hub", repo="org/name", revision=revision, requested="main")
    return Manifest(
        name="org/name",
        source=source,
        files=files,
        created=created,
        tools={"corral": "1"},
        projector=projector,
    )


def entry(type_: str, data: bytes) -> ManifestFile:
    return ManifestFile.single(type_, f"name.{type_}.gguf", len(data), "0" * 64, bits_per_weight=4.5)


def publish(
    store: ModelStore,
    *types: str,
    data: bytes = b"weights",
    revision: str = COMMIT,
    created: str = "2026-01-01",
    projector: str | None = None,
) -> StoredModel:
    with store.staging(REF) as staging:
        for type_ in (*types, projector):
            if type_ is not None:
                (staging.path / f"name.{type_}.gguf").write_bytes(data)
        files = (entry(type_, data) for type_ in types)
        beside = None if projector is None else entry(projector, data)
        return staging.publish(manifest(*files, revision=revision, created=created, projector=beside))


def everything_under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
