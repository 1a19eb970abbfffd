"""`UsageLedger`: the usage, for the event loop; the file is used in a thread of its own, or at once.

An entry is on its way to the file at once, and those that come while a transaction is written go together in
the next: so a flood of short answers costs one transaction after another, and nobody waits for more than two.
An entry that comes alone is written in the call (`quick_writer.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from models.errors import RequestError, StoreError
from server.state.state_thread import StateThread
from server.usage.database import UsageDatabase, first_day_kept
from server.usage.entry import GROUPS, UsageEntry, UsageGroup
from server.usage.quick_writer import QuickWriter

logger = logging.getLogger("corral.usage")

MOST_UNWRITTEN = 10_000
"""So many entries wait for a file that can't be written; then the oldest of them are lost."""


class UsageLedger:
    """The usage in the file at `path`; None: nothing is counted."""

    def __init__(self, path: Path | None, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._state = StateThread(partial(self._open, path or Path()), "usage")
        self._pending: list[UsageEntry] = []
        self._written: asyncio.Future[None] | None = None
        """Done once those that are pending have been written, or can't be."""
        self._failed: list[UsageEntry] = []
        """Those that couldn't be written, which go with the next."""
        self._quick = QuickWriter(path or Path())
        self._writing: asyncio.Task[None] | None = None

    @classmethod
    def off(cls) -> UsageLedger:
        """Return a ledger that counts nothing."""
        return cls(None)

    @property
    def is_on(self) -> bool:
        """True if usage is counted."""
        return self._path is not None

    async def add(self, entry: UsageEntry) -> None:
        """Return when the entry is in the file, from where no end of this process takes it.

        A file that can't be written is no error of the request: the log says so, and the entry waits.
        """
        if self.is_on and self._writing is None and not self._failed and self._quick.write(entry):
            return
        self.add_soon(entry)
        if self._written is not None:
            await asyncio.shield(self._written)

    def add_soon(self, entry: UsageEntry) -> None:
        """Begin to count an entry; it may be lost if the process ends at once."""
        if not self.is_on:
            return
        self._pending.append(entry)
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def totals(
        self, by: Sequence[UsageGroup] = GROUPS, since: str = "", owner: str | None = None
    ) -> list[UsageEntry]:
        """Return the sums, as `UsageDatabase.totals` does. Raises RequestError where nothing is counted."""
        if not self.is_on:
            raise RequestError("this server counts no usage (usage is false)", code="unsupported")
        return await self._state.run(lambda state: state.totals(by, since, owner))

    async def flushed(self) -> None:
        """Return when everything so far has been written, or can't be."""
        if self._writing is not None:
            await asyncio.shield(self._writing)

    def close(self) -> None:
        """Close the file after the calls so far; the object may be used no more."""
        self._quick.close()
        self._state.close()

    async def _write(self) -> None:
        """Write what is pending, and what has come meanwhile, until there is nothing more."""
        while self._written is not None:
            written, self._written = self._written, None
            entries = [*self._failed, *self._pending]
            self._pending = []
            try:
                await self._state.run(partial(UsageDatabase.add, entries=entries))
                self._failed = []
                self._quick.allow()
            except StoreError as error:
                logger.warning("usage waits to be counted: %s", error.message)
                self._failed = entries[-MOST_UNWRITTEN:]
            except Exception:  # requests wait for this task, and it would never be begun again
                logger.exception("the usage of %d requests isn't counted", len(entries))
                self._failed = []
            finally:
                written.set_result(None)
        self._writing = None

    def _open(self, path: Path) -> UsageDatabase:
        database = UsageDatabase(path)
        database.delete_before(first_day_kept(self._now()))
        return database
