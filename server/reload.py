"""`Reloads`: the parts that a running server reads again at SIGHUP and `POST /admin/reload`.

Each part has a name and a call that reads, checks and only then takes over what it has read: a part changes
as a whole or not at all, and one that can't be read keeps no other from being read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from models.errors import CorralError

logger = logging.getLogger("corral.serve")

Reload = Callable[[], Awaitable[Sequence[str]]]
"""Reads a part again. Returns a line for each change, none where nothing has changed; raises CorralError, and
then everything is as it was."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The outcome of one part."""

    name: str
    changes: tuple[str, ...] = ()
    error: CorralError | None = None
    """The reason for which the part stayed as it was."""


class Reloads:
    """The parts, in the order in which they are read. Used on the event loop."""

    def __init__(self) -> None:
        self._parts: dict[str, Reload] = {}
        self._lock = asyncio.Lock()

    @property
    def is_empty(self) -> bool:
        """True where there is nothing to read again."""
        return not self._parts

    def add(self, name: str, reload: Reload) -> None:
        """Add a part, which the log and clients know by `name`."""
        assert name not in self._parts
        self._parts[name] = reload

    async def run(self) -> list[Reloaded]:
        """Read every part again, and log what came of it. A second call waits for the first to end."""
        async with self._lock:
            return [await self._read(name, reload) for name, reload in self._parts.items()]

    async def _read(self, name: str, reload: Reload) -> Reloaded:
        try:
            changes = tuple(await reload())
        except CorralError as error:
            logger.error(  # noqa: TRY400 - the message says it
                "%s: nothing was changed: %s", name, error.message
            )
            return Reloaded(name, error=error)
        for change in changes:
            logger.info("%s: %s", name, change)
        if not changes:
            logger.info("%s: read again, nothing has changed", name)
        return Reloaded(name, changes)
