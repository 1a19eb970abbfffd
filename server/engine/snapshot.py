"""A copy of the engine's books between two steps, for tests: sequences, slots, pending changes."""

from __future__ import annotations

from dataclasses import dataclass

from server.engine.batch import MemoryChange
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class SequenceSnapshot:
    """One live sequence and the request that it is a choice of."""

    id: int
    request_id: str


@dataclass(frozen=True, slots=True)
class SlotSnapshot:
    """One slot: its owner's sequence id, None while it is idle, and the tokens that it holds."""

    owner_id: int | None
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """The books of an engine. `memory` are changes to the KV cache that the next batch will carry.

    `slots` hold what they will hold after those changes.
    """

    running: tuple[SequenceSnapshot, ...]
    waiting: tuple[SequenceSnapshot, ...]
    slots: tuple[SlotSnapshot, ...]
    memory: tuple[MemoryChange, ...]

    def request_id_of(self, sequence_id: int) -> str:
        """Return the id of the request that a live sequence belongs to."""
        live = (*self.running, *self.waiting)
        return next(sequence.request_id for sequence in live if sequence.id == sequence_id)


def take_snapshot(scheduler: Scheduler) -> EngineSnapshot:
    """Return a copy of what `scheduler` and its prefix cache hold now."""
    return EngineSnapshot(
        running=tuple(_sequence_snapshot(sequence) for sequence in scheduler.running),
        waiting=tuple(_sequence_snapshot(sequence) for sequence in scheduler.waiting),
        slots=tuple(
            SlotSnapshot(None, tuple(slot.resident))
            if slot.owner is None
            else SlotSnapshot(slot.owner.id, tuple(slot.owner.tokens[: slot.owner.n_computed]))
            for slot in scheduler.cache.slots
        ),
        memory=scheduler.pending_memory,
    )


def _sequence_snapshot(sequence: Sequence) -> SequenceSnapshot:
    return SequenceSnapshot(sequence.id, sequence.group.id)
