from __future__ import annotations

from server.engine.batch import Batch, BatchEntry, Checkpoint, Copy, Relayout, Restore, Trim
from server.worker.run.positions import SlotPositions

STATE = memoryview(b"state")


def with_images() -> SlotPositions:
    """Slot 0 has 10 tokens, an image of 20 in 5 positions, 10 tokens, and an image of 12 in 4."""
    positions = SlotPositions(3)
    positions.note(0, 30, 20, 5)
    positions.note(0, 52, 12, 4)
    return positions


def entry(slot: int, position: int) -> BatchEntry:
    return BatchEntry(7, slot, [1, 2], position)


def test_without_such_images_a_batch_stays_as_it_is() -> None:
    positions = SlotPositions(2)
    positions.note(0, 30, 20, 20)
    batch = Batch([Trim(0, 3)], [entry(0, 40)])
    assert positions.placed(batch) is batch
    assert positions.position(0, 40) == 40


def test_positions_after_tokens() -> None:
    positions = with_images()
    assert [positions.position(0, n) for n in (0, 10, 30, 40, 52, 60)] == [0, 10, 15, 25, 29, 37]
    assert positions.position(1, 60) == 60
    made = positions.placed(Batch([], [entry(0, 52), entry(1, 9)], rows=(2, 2)))
    assert [one.position for one in made.entries] == [29, 9]
    assert made.rows == (2, 2)


def test_a_trim_cuts_at_a_position_and_forgets_the_images_behind_it() -> None:
    positions = with_images()
    checkpoint = Checkpoint(40, STATE, is_border=True)
    (change,) = positions.placed(Batch([Trim(0, 40, checkpoint)], [])).memory
    assert isinstance(change, Trim)
    assert change.checkpoint is not None
    assert (change.n_keep, change.checkpoint.n_tokens, change.checkpoint.is_border) == (25, 25, True)
    assert positions.position(0, 60) == 45
    (emptied,) = positions.placed(Batch([Trim(0, 0)], [])).memory
    assert emptied == Trim(0, 0)
    assert positions.position(0, 60) == 60


def test_a_copy_has_the_images_that_it_copies() -> None:
    positions = with_images()
    made = positions.placed(Batch([Copy(0, 2, 41), Relayout(unified=True)], [entry(2, 41)]))
    assert made.memory == [Copy(0, 2, 26), Relayout(unified=True)]
    assert made.entries[0].position == 26
    assert positions.position(2, 60) == 45
    assert positions.position(0, 60) == 37


def test_what_is_restored_or_lost_has_no_images() -> None:
    positions = with_images()
    restore = Restore(0, "key", 5)
    assert positions.placed(Batch([restore], [entry(0, 5)])).memory == [restore]
    assert positions.position(0, 60) == 60
    positions = with_images()
    positions.forget_all((0, 1))
    assert positions.position(0, 60) == 60
