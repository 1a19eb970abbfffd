"""`Attendance`: the requests that run in one model, wait for its load, or are held back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Attendance:
    """Counts; it belongs to the event loop. `deserted` is called when the last of them has ended."""

    def __init__(self, deserted: Callable[[], None]) -> None:
        self.n_running = 0
        """Requests and questions that have the worker."""
        self.n_loading = 0
        """Those that wait for its load."""
        self.n_held = 0
        """Those that are held back: the model goes once it is idle, and they come with the next load."""
        self._deserted = deserted
        self._n_holds = 0
        self._free: asyncio.Event | None = None
        """Set once nothing holds new requests back any more."""
        self._empty = asyncio.Event()

    @property
    def n_waiting(self) -> int:
        """Those that have no worker yet."""
        return self.n_loading + self.n_held

    @property
    def is_empty(self) -> bool:
        """True if nothing runs in the model and nothing waits for its load; those held back don't count."""
        return not self.n_running and not self.n_loading

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count one that has the worker."""
        self.n_running += 1
        try:
            yield
        finally:
            self.n_running -= 1
            self._look()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Count one that waits for the load."""
        self.n_loading += 1
        try:
            yield
        finally:
            self.n_loading -= 1
            self._look()

    # --- holding new ones back ---

    @property
    def is_held(self) -> bool:
        """True while new requests have to wait."""
        return self._n_holds > 0

    def hold(self) -> None:
        """Hold new requests back until as many calls of `release`; what runs is not touched."""
        self._n_holds += 1
        if self._free is None:
            self._free = asyncio.Event()

    def release(self) -> None:
        """Undo one `hold`."""
        self._n_holds -= 1
        if not self._n_holds and self._free is not None:
            self._free.set()
            self._free = None

    async def admitted(self, timeout_s: float) -> None:
        """Return once nothing holds new requests back. Raises TimeoutError."""
        self.n_held += 1
        try:
            async with asyncio.timeout(timeout_s):
                while self._free is not None:
                    await self._free.wait()
        finally:
            self.n_held -= 1

    async def emptied(self) -> None:
        """Return once `is_empty`."""
        while not self.is_empty:
            self._empty.clear()
            await self._empty.wait()

    def _look(self) -> None:
        if self.is_empty:
            self._empty.set()
            self._deserted()
