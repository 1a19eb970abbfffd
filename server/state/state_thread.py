"""`StateThread`: actions on an open state file, in a thread of its own, in the order of the calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from server.state.state_file import BUSY_S

R = TypeVar("R")


class Opened(Protocol):
    """A state file that is open."""

    def renew(self, wait_s: float) -> None:
        """Make sure that the open file is the one that others find; their locks are waited for so long."""

    def close(self) -> None:
        """Close the file."""


File = TypeVar("File", bound=Opened)


class StateThread(Generic[File]):
    """Runs actions one after another: each finds what those before it have kept. The first opens the file."""

    def __init__(self, open_file: Callable[[], File], name: str) -> None:
        self._open_file = open_file
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._opened: File | None = None

    async def run(self, action: Callable[[File], R]) -> R:
        """Return the action's result. Raises what it raises, and StoreError where no file can be opened."""
        wanted_s = time.monotonic()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._act, action, wanted_s)

    def close(self) -> None:
        """Close the file after the calls so far; the object may be used no more."""
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _act(self, action: Callable[[File], R], wanted_s: float) -> R:
        """Do it. The time in the queue counts, so that many calls wait for a lock no longer than one."""
        if self._opened is None:
            self._opened = self._open_file()
        self._opened.renew(max(0.0, BUSY_S - (time.monotonic() - wanted_s)))
        return action(self._opened)

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None
