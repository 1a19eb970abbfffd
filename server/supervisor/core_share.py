"""`CoreShare`: models that make vectors give way on the cores while others write answers.

A flood of vectors has all cores as long as nobody waits for a next token. Each worker that makes vectors is
told when the first answer begins and when the last one ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from server.ipc.messages import Pool, Work


class Courteous(Protocol):
    """A worker process that can give way."""

    def give_way(self, active: bool) -> None:
        """Tell the worker; one that has ended is no error."""


class CoreShare:
    """The requests that run in all workers, by what they make. It belongs to the event loop."""

    def __init__(self) -> None:
        self._n_writing = 0
        self._pooling: Counter[Courteous] = Counter()
        """Workers that make vectors, with the number of their requests."""

    @contextmanager
    def running(self, worker: Courteous, request: Work) -> Iterator[None]:
        """Count a request as running in the meantime."""
        change = self._change_pooling if isinstance(request, Pool) else self._change_writing
        change(worker, 1)
        try:
            yield
        finally:
            change(worker, -1)

    def _change_writing(self, _worker: Courteous, step: int) -> None:
        before, self._n_writing = self._n_writing, self._n_writing + step
        if not before or not self._n_writing:
            for worker in self._pooling:
                worker.give_way(bool(self._n_writing))

    def _change_pooling(self, worker: Courteous, step: int) -> None:
        before = self._pooling[worker]
        self._pooling[worker] += step
        if not self._pooling[worker]:
            del self._pooling[worker]
        elif not before:
            worker.give_way(bool(self._n_writing))
