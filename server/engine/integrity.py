"""Whether the engine's books agree with each other. For tests, after each step, and for idle moments."""

from __future__ import annotations

from collections.abc import Mapping

from server.engine.scheduler import Scheduler
from server.engine.sequence import Group, Sequence, SequenceStatus


def check(scheduler: Scheduler, sequences: Mapping[int, Sequence], groups: Mapping[str, Group]) -> None:
    """AssertionError if a slot, a sequence or a request is where it can't be."""
    running, waiting = scheduler.running, list(scheduler.waiting)
    slots = scheduler.cache.slots
    for slot in slots:
        if slot.owner is not None:
            assert slot.owner in running, f"slot {slot.id} belongs to a sequence that isn't running"
            assert slot.owner.slot == slot.id, f"slot {slot.id} and its owner disagree"
            assert not slot.resident, f"slot {slot.id} has an owner and leftovers"
    for sequence in running:
        assert sequence.status is SequenceStatus.RUNNING, sequence.status
        assert sequence.slot is not None, f"sequence {sequence.id} runs without a slot"
        assert slots[sequence.slot].owner is sequence, f"sequence {sequence.id} isn't its slot's owner"
        assert sequence.n_pending >= 1, f"sequence {sequence.id} runs and has nothing to compute"
    for sequence in waiting:
        assert sequence.status is SequenceStatus.WAITING, sequence.status
        assert sequence.slot is None, f"sequence {sequence.id} waits in a slot"
    live = {sequence.id for sequence in (*running, *waiting)}
    assert len(live) == len(running) + len(waiting), "a sequence is in two places"
    assert live == set(sequences), "a sequence is lost or was kept after its end"
    for group in groups.values():
        assert not group.is_finished, f"request {group.id} ended without a terminal event"
    assert {sequence.group.id for sequence in (*running, *waiting)} == set(groups), "a request is lost"
