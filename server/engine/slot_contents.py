"""`SlotContents`: what idle slots hold, read and changed between two steps. Pure bookkeeping."""

from __future__ import annotations

from collections.abc import Iterable

from server.engine.batch import Checkpoint, Copy, Restore, Save, Trim
from server.engine.scheduling.scheduler import Scheduler


class SlotContents:
    """The tokens of the slots that no sequence has. The engine's thread calls it, between two steps."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    @property
    def n_slots(self) -> int:
        """The number of slots; their ids begin at 0."""
        return len(self._scheduler.cache.slots)

    def held(self, slot: int) -> Save | None:
        """Return what a slot holds; None while a sequence has it, or a copy from or to it is to be made."""
        place = self._scheduler.cache.slots[slot]
        copies = [one for one in self._scheduler.pending_memory if isinstance(one, Copy)]
        if place.owner is not None or any(slot in (copy.source, copy.target) for copy in copies):
            return None
        return self._scheduler.cache.save(place)

    def erase(self, slot: int) -> None:
        """Empty an idle slot: the next sequence finds nothing there."""
        if self._scheduler.cache.slots[slot].resident:
            self._scheduler.cache.erase(slot)
            self._scheduler.change([Trim(slot, 0)])

    def fill(self, slot: int, tokens: list[int], key: str, checkpoints: Iterable[Checkpoint] = ()) -> None:
        """Have an idle slot hold the state that the runner was given for it as `key`."""
        self._scheduler.cache.fill(slot, tokens, checkpoints)
        self._scheduler.change([Restore(slot, key, len(tokens))])
