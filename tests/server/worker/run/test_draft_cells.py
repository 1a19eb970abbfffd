"""Whose tokens have room in the cells of what drafts."""

from __future__ import annotations

import random

import pytest

from server.worker.run.draft_cells import plan_cells


@pytest.mark.parametrize(
    ("wanted", "held", "chosen", "forgotten"),
    [
        ([(0, 40), (2, 60)], [30, 0, 50], [0, 1], []),
        ([(0, 40), (2, 61)], [30, 0, 50], [0], []),  # what waits keeps what it has while there is room
        ([(0, 80), (2, 40)], [30, 0, 50], [0], [2]),
        ([(1, 20)], [30, 0, 60], [0], [2]),  # the longest goes
        ([(1, 100)], [30, 0, 60], [0], [0, 2]),
        ([(1, 101), (0, 5)], [30, 0, 60], [1], []),  # one that is too long keeps no other from its guesses
    ],
)
def test_the_first_that_have_room_are_chosen(
    wanted: list[tuple[int, int]], held: list[int], chosen: list[int], forgotten: list[int]
) -> None:
    assert plan_cells(wanted, held, 100, 100) == (chosen, forgotten)


def test_no_sequence_has_more_than_its_own_share() -> None:
    assert plan_cells([(0, 26), (1, 25)], [0, 0, 90], 100, 25) == ([1], [2])


def test_all_fits_together_whatever_comes() -> None:
    rng = random.Random(1)
    for _ in range(500):
        n_slots = rng.randint(1, 8)
        held = [rng.randint(0, 60) for _ in range(n_slots)]
        slots = rng.sample(range(n_slots), rng.randint(0, n_slots))
        wanted = [(slot, rng.randint(1, 80)) for slot in slots]
        chosen, forgotten = plan_cells(wanted, held, 100, 100)
        used = {wanted[i][0]: wanted[i][1] for i in chosen}
        kept = sum(held[slot] for slot in range(n_slots) if slot not in used and slot not in forgotten)
        assert sum(used.values()) + kept <= 100
        assert not set(forgotten) & set(used)
