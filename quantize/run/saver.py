"""The thread that makes progress durable: sync the files, then note in the journal what was whole before.

It also keeps what is not yet on the disk small, so that the last sync takes no time of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from quantize.run.journal import Journal
from quantize.run.writer import GGUFFileWriter

SAVE_EVERY_S: Final = 2.0


class Saver:
    """Runs for as long as the `with` block; what is whole when that is left early is saved, too."""

    def __init__(self, writers: Sequence[GGUFFileWriter], journal: Journal | None) -> None:
        self._writers = writers
        self._journal = journal
        self._whole: list[int] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="save", daemon=True)

    def complete(self, tensor: int) -> None:
        """All bytes of the plan's tensor number `tensor` are written to every file."""
        with self._lock:
            self._whole.append(tensor)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        if error is not None:
            self._save()

    def _run(self) -> None:
        while not self._end.wait(SAVE_EVERY_S):
            self._save()

    def _save(self) -> None:
        """A disk that fails is no matter here: writing or the last sync will meet it, and tell."""
        with self._lock:
            whole, self._whole = self._whole, []
        if not whole:
            return
        try:
            for writer in self._writers:
                writer.sync()
            if self._journal is not None:
                self._journal.add(whole)
        except OSError:
            return
