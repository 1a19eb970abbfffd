"""`AdapterLoad`: the LoRA adapters that requests are answered with, and those that requests wait for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class AdapterLoad:
    """The numbers of running and of waiting requests, by the name under which an adapter is requested."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()

    @property
    def running(self) -> list[str]:
        """The adapters with which requests are answered now, by name."""
        return sorted(self._running)

    @property
    def waiting(self) -> list[str]:
        """The adapters for which requests wait: for their model, or in it for a slot."""
        return sorted(self._waiting)

    def wait(self, names: Iterable[str]) -> None:
        """Count a request with these adapters that waits."""
        self._waiting.update(names)

    def run(self, names: Iterable[str]) -> None:
        """Count one that has waited as one that runs."""
        for name in names:
            _take(self._waiting, name)
            self._running[name] += 1

    def leave(self, names: Iterable[str], *, was_running: bool) -> None:
        """Take a request off that has ended."""
        counts = self._running if was_running else self._waiting
        for name in names:
            _take(counts, name)


def _take(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
