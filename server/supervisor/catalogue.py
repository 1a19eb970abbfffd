"""Which models can be asked for, and which file serves a name. Pure but for asking what is stored.

name         the type this server was started with, else the one already loaded, else the preferred type
name:TYPE    exactly that file
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.errors import InvalidReference, ModelNotFound
from models.reference import canonical_type
from server.ipc.model_spec import ModelSpec
from server.serve_options import ServeOptions

PREFERRED_TYPES: tuple[str, ...] = ("Q4_K_M", "Q5_K_M", "Q8_0", "Q6_K", "F16", "BF16")
"""Which type serves a plain name when nothing else says; a type not listed comes after these."""


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One file that can be served. `created` is in Unix seconds; `type` None where a file doesn't say."""

    name: str
    path: Path
    type: str | None
    size_bytes: int
    created: int
    prompt_format: str | None = None

    @property
    def key(self) -> str:
        """`name:TYPE`, which is what a loaded model is known by."""
        return f"{self.name}:{self.type}" if self.type else self.name

    def model_spec(
        self, options: ServeOptions, draft: Path | None = None, prefixes: Path | None = None
    ) -> ModelSpec:
        """The first frame to a worker for this file. A prompt format in `options` wins over the model's own.

        `draft`: the file of its draft model. `prefixes`: the folder of kept prefixes.
        """
        return ModelSpec(
            name=self.name,
            path=str(self.path),
            options=replace(options, prompt_format=options.prompt_format or self.prompt_format),
            draft_path=None if draft is None else str(draft),
            prefix_folder=None if prefixes is None else str(prefixes),
        )


Source = Callable[[], Iterable[CatalogueEntry]]
STALE_AFTER_S = 1.0
"""An answer of the source is used for this many seconds before it is asked again."""


class Catalogue:
    """All entries: those `served` from the start first, then what `stored` finds whenever it is asked."""

    def __init__(
        self,
        served: Sequence[CatalogueEntry] = (),
        stored: Source = tuple,
        preferred_types: Sequence[str] = PREFERRED_TYPES,
    ) -> None:
        self._served = tuple(served)
        self._stored = stored
        self._preferred_types = tuple(preferred_types)
        self._cached: list[CatalogueEntry] | None = None
        self._cached_at = 0.0

    @property
    def served(self) -> tuple[CatalogueEntry, ...]:
        return self._served

    def entries(self) -> list[CatalogueEntry]:
        """Every entry once, served ones first, the others by name."""
        now = time.monotonic()
        if self._cached is None or now - self._cached_at > STALE_AFTER_S:
            found = {entry.key: entry for entry in self._served}
            for entry in sorted(self._stored(), key=lambda entry: (entry.name, self._rank(entry))):
                found.setdefault(entry.key, entry)
            self._cached, self._cached_at = list(found.values()), now
        return list(self._cached)

    def plain(self, loaded: Collection[str] = ()) -> list[CatalogueEntry]:
        """One entry per name: the one that serves the plain name while the keys in `loaded` are loaded."""
        by_name: dict[str, list[CatalogueEntry]] = {}
        for entry in self.entries():
            by_name.setdefault(entry.name, []).append(entry)
        return [self._choose(entries, loaded) for entries in by_name.values()]

    def resolve(self, name: str, loaded: Collection[str] = ()) -> CatalogueEntry:
        """The entry that serves `name`. Raises ModelNotFound in the words OpenAI's clients know."""
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
        raise ModelNotFound(f"The model `{name}` does not exist")

    def _choose(self, entries: Sequence[CatalogueEntry], loaded: Collection[str]) -> CatalogueEntry:
        """`entries` share a name and aren't empty."""
        for entry in entries:
            if entry in self._served:
                return entry
        for entry in sorted(entries, key=self._rank):
            if entry.key in loaded:
                return entry
        return min(entries, key=self._rank)

    def _rank(self, entry: CatalogueEntry) -> tuple[int, int]:
        """Preferred types in their order, then the smaller files."""
        types = self._preferred_types
        place = types.index(entry.type) if entry.type in types else len(types)
        return place, entry.size_bytes


def _type_or_none(text: str) -> str | None:
    try:
        return canonical_type(text)
    except InvalidReference:
        return None
