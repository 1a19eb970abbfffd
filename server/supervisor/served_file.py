"""`ServedFile`: the file that a model is loaded from, and the one to be loaded next in its place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from server.ipc.model_spec import ModelSpec
from server.supervisor.catalogue import CatalogueEntry
from server.supervisor.file_state import FileState

logger = logging.getLogger("corral.supervisor")

Use = Callable[[Path], AbstractContextManager[None]]
"""A `Use` guards a file while a worker has it open."""


def use_freely(_path: Path) -> AbstractContextManager[None]:
    """Guard nothing: for files that no store guards."""
    return nullcontext()


class ServedFile:
    """One model's file as the catalogue has it, how it is loaded, and whether there is another one now.

    Times are of `clock_s`.
    """

    def __init__(self, entry: CatalogueEntry, spec: ModelSpec, clock_s: Callable[[], float]) -> None:
        self.entry = entry
        self.spec = spec
        """The next worker is started with it; after a death while loading it is a safer one than at first."""
        self.needed_bytes = 0
        """Its load was estimated to take so much memory; 0: that isn't known."""
        self._clock_s = clock_s
        self._offer: tuple[CatalogueEntry, ModelSpec] | None = None
        self._loaded: FileState | None = None
        """The file as it was when it was loaded."""
        self._outdated_s: float | None = None
        """The time at which it was seen first that there is another file now."""

    def offer(self, entry: CatalogueEntry, spec: ModelSpec) -> None:
        """Take another file for the same name; `accept` puts it in this one's place."""
        self._offer = entry, spec

    def accept(self) -> bool:
        """Put the file that was offered in this one's place. Returns False if none was."""
        if self._offer is None:
            return False
        (self.entry, self.spec), self._offer = self._offer, None
        self.needed_bytes, self._outdated_s = 0, None
        return True

    def note_load(self) -> None:
        """Remember the file as it is now: it is being loaded."""
        self._loaded, self._outdated_s = FileState.of(self.entry.path), None

    @property
    def is_outdated(self) -> bool:
        """True if there is another file than the one that was loaded."""
        if self._offer is not None:
            return True
        return self._loaded is not None and self._loaded.was_replaced(self.entry.path)

    def outdated_for_s(self) -> float:
        """Return the seconds since it was seen first that there is another file; that is noted here."""
        if self._outdated_s is None:
            self._outdated_s = self._clock_s()
            logger.info("%s has another file now", self.entry.key)
        return self._clock_s() - self._outdated_s
