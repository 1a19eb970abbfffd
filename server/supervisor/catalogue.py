"""The catalogue: which models can be requested, and which file serves a name.

name         the type this server was started with, else the one already loaded, else the preferred type
name:TYPE    exactly that file

Entries come from the files served from the start and from a source, normally the model store; of several
files of the same key its first counts. One served from the start gives way to a newer one of the same source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from models.errors import InvalidReference, ModelNotFound
from models.gguf.head_rules import HEAD_KIND
from models.gguf.info import read_gguf_info, require_model
from models.quantization_types import PREFERRED_TYPES
from models.reference import canonical_type
from models.store.store import ModelStore, StoredFile, StoredModel
from server.ipc.model_spec import ModelSpec
from server.serve_options import ServeOptions


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One file that can be served. `created` is in Unix seconds; `type` is None where a file doesn't say."""

    name: str
    path: Path
    type: str | None
    size_bytes: int
    created: int
    prompt_format: str | None = None
    source: str | None = None
    """The place that the model in the store came from; a newer file of the same source replaces this one."""
    quality: Mapping[str, Any] | None = field(default=None, compare=False)
    """The figures that were measured of the file, if any: what quantizing lost."""
    projector: Path | None = field(default=None, compare=False)
    """The file with what lets the model see, where the store keeps one with it."""
    sha256: tuple[str, ...] = field(default=(), compare=False)
    """The digests of the file's parts, where the store knows them."""

    @property
    def key(self) -> str:
        """The id of a loaded model: `name:TYPE`, or the name of a file without a type."""
        return f"{self.name}:{self.type}" if self.type else self.name

    def model_spec(
        self,
        options: ServeOptions,
        draft: Path | None = None,
        prefixes: Path | None = None,
        projector: Path | None = None,
    ) -> ModelSpec:
        """The first frame to a worker for this file. A prompt format in `options` wins over the model's own.

        `draft`: the file of its draft model. `prefixes`: the folder of kept prefixes. `projector`: a
        projector in place of the store's, and of none where `options` want none.
        """
        eyes = None if options.no_mmproj else projector or self.projector
        return ModelSpec(
            name=self.name,
            path=str(self.path),
            options=replace(options, prompt_format=options.prompt_format or self.prompt_format),
            draft_path=None if draft is None else str(draft),
            projector_path=None if eyes is None else str(eyes),
            prefix_folder=None if prefixes is None else str(prefixes),
        )


Source = Callable[[], Iterable[CatalogueEntry]]
"""A source returns the entries that there are now."""
STALE_AFTER_S = 1.0
"""An answer of the source is used for this many seconds before it is asked again."""


class Catalogue:
    """All entries: those `served` from the start first, then those that `source` returns now."""

    def __init__(
        self,
        served: Sequence[CatalogueEntry] = (),
        source: Source = tuple,
        preferred_types: Sequence[str] = PREFERRED_TYPES,
    ) -> None:
        self._served = tuple(served)
        self._source = source
        self._preferred_types = tuple(preferred_types)
        self._cache: list[CatalogueEntry] | None = None
        self._cache_s = 0.0

    @property
    def served(self) -> tuple[CatalogueEntry, ...]:
        """The entries that are loaded from the start."""
        return self._served

    def entries(self) -> list[CatalogueEntry]:
        """Return every entry once, served ones first, the others by name."""
        now_s = time.monotonic()
        if self._cache is None or now_s - self._cache_s > STALE_AFTER_S:
            newest: dict[str, CatalogueEntry] = {}
            for entry in self._source():
                newest.setdefault(entry.key, entry)
            self._served = tuple(_newer(entry, newest.get(entry.key)) for entry in self._served)
            by_key = {entry.key: entry for entry in self._served}
            for entry in sorted(newest.values(), key=lambda entry: (entry.name, self._rank(entry))):
                by_key.setdefault(entry.key, entry)
            self._cache, self._cache_s = list(by_key.values()), now_s
        return list(self._cache)

    def forget(self) -> None:
        """Ask the source at the next question: it has changed."""
        self._cache = None

    def plain(self, loaded: Collection[str] = ()) -> list[CatalogueEntry]:
        """Return one entry per name: the one that serves it while the keys in `loaded` are loaded."""
        by_name: dict[str, list[CatalogueEntry]] = {}
        for entry in self.entries():
            by_name.setdefault(entry.name, []).append(entry)
        return [self._choose(entries, loaded) for entries in by_name.values()]

    def resolve(self, name: str, loaded: Collection[str] = ()) -> CatalogueEntry:
        """Return the entry that serves `name`. Raises ModelNotFound in the words OpenAI's clients know."""
        entries = self.entries()
        same_name = [entry for entry in entries if entry.name == name]
        if same_name:
            return self._choose(same_name, loaded)
        base, colon, type_text = name.rpartition(":")
        if colon:
            wanted = _type_or_none(type_text)
            for entry in entries:
                if entry.name == base and entry.type == wanted and wanted is not None:
                    return entry
        raise ModelNotFound(f"The model `{name}` does not exist; GET /v1/models lists those that do")

    def _choose(self, entries: Sequence[CatalogueEntry], loaded: Collection[str]) -> CatalogueEntry:
        """Return the one of `entries`, which share a name and aren't empty, that serves the name."""
        if len(entries) == 1:
            return entries[0]
        for entry in entries:
            if entry in self._served:
                return entry
        for entry in sorted(entries, key=self._rank):
            if entry.key in loaded:
                return entry
        return min(entries, key=self._rank)

    def _rank(self, entry: CatalogueEntry) -> tuple[int, int]:
        """Return the sort key of a type: preferred types in their order, then the smaller files."""
        types = self._preferred_types
        place = types.index(entry.type) if entry.type in types else len(types)
        return place, entry.size_bytes


def _newer(entry: CatalogueEntry, found: CatalogueEntry | None) -> CatalogueEntry:
    """Return `found` if it is a newer file of the same source, else `entry`."""
    if found is None or entry.source is None or found.source != entry.source:
        return entry
    return found if found.created >= entry.created else entry


def _type_or_none(text: str) -> str | None:
    try:
        return canonical_type(text)
    except InvalidReference:
        return None


# --- entries from what is on disk -----------------------------------------------------------------


def store_entries(store: ModelStore) -> list[CatalogueEntry]:
    """Return every complete file in the store; of several revisions the newest comes first."""
    return [store_entry(model, file) for model in store.list() for file in model.types.values()]


def store_entry(model: StoredModel, file: StoredFile) -> CatalogueEntry:
    """Return the entry of one file of a model in the store."""
    return CatalogueEntry(
        name=model.name,
        path=file.path,
        type=file.type,
        size_bytes=file.size_bytes,
        created=_unix_seconds(model.manifest.created),
        prompt_format=model.manifest.prompt_format,
        source=_source_of(model),
        sha256=file.sha256,
        projector=model.projector,
        quality=next((one.quality for one in model.manifest.files if one.type == file.type), None),
    )


def _source_of(model: StoredModel) -> str:
    source = model.manifest.source
    if source.program is not None:
        return f"{source.program} {source.title}"
    return f"{source.kind} {source.repo or source.path or ''} {source.requested or ''}"


def file_entry(path: Path, *, may_be_head: bool = False) -> CatalogueEntry:
    """Return the entry of a GGUF file outside the store, which is named by its stem.

    `may_be_head`: it may be one that only drafts for a model. Raises InvalidGGUF.
    """
    info = read_gguf_info(path)
    if not (may_be_head and info.kind == HEAD_KIND):
        require_model(info)
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
