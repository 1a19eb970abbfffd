"""`plan_cells`: whose tokens have room in the cells of what drafts. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def plan_cells(
    wanted: Sequence[tuple[int, int]], held: Sequence[int], n_cells: int, n_cells_each: int
) -> tuple[list[int], list[int]]:
    """Return the indexes in `wanted` of those that have room together, and the slots to forget for them.

    `wanted`: for each sequence its slot and the cells of its tokens and guesses; earlier ones come first.
    `held`: the cells that each slot takes now. A sequence has at most `n_cells_each`, all together `n_cells`.
    The served model's sequences share the cells of a common prefix, those of what drafts don't: where slots
    share one pool they may want more than there is.
    """
    free = n_cells
    chosen: list[int] = []
    for i, (_, size) in enumerate(wanted):
        if size <= min(n_cells_each, free):
            free -= size
            chosen.append(i)
    in_use = {wanted[i][0] for i in chosen}
    forgotten: list[int] = []
    for slot in sorted(set(range(len(held))) - in_use, key=lambda slot: held[slot]):
        if held[slot] <= free:
            free -= held[slot]
        else:
            forgotten.append(slot)
    return chosen, forgotten
