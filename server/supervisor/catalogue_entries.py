"""Catalogue entries from what is on disk: the store's models, and single GGUF files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from models.gguf.info import read_gguf_info
from models.store.store import ModelStore, StoredFile, StoredModel
from server.supervisor.catalogue import CatalogueEntry


def stored_entries(store: ModelStore) -> list[CatalogueEntry]:
    """Every complete file in the store; of several revisions the newest comes first."""
    return [stored_entry(model, file) for model in store.list() for file in model.types.values()]


def stored_entry(model: StoredModel, file: StoredFile) -> CatalogueEntry:
    return CatalogueEntry(
        name=model.name,
        path=file.path,
        type=file.type,
        size_bytes=file.size_bytes,
        created=_unix_seconds(model.manifest.created),
        prompt_format=model.manifest.prompt_format,
    )


def file_entry(path: Path) -> CatalogueEntry:
    """A GGUF file outside the store, known by its stem. Raises InvalidGGUF."""
    info = read_gguf_info(path)
    return CatalogueEntry(
        name=path.stem,
        path=info.path,
        type=info.ftype,
        size_bytes=info.size_bytes,
        created=int(path.stat().st_mtime),
    )


def _unix_seconds(iso: str) -> int:
    try:
        return int(datetime.fromisoformat(iso).timestamp())
    except ValueError:
        return 0
