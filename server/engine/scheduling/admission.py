"""`Admission`: which of the waiting sequences gets the next slot, and with what of its prompt. Pure."""

from __future__ import annotations

from collections.abc import Collection

from server.engine.batch import Adapters
from server.engine.prefix.prefix_cache import PrefixCache
from server.engine.scheduling.idle_work import is_idle_work
from server.engine.scheduling.precedence import Precedence
from server.engine.sequence import Sequence
from server.engine.slot import Placement


class Admission:
    """The choice among those that wait for a slot of `cache`; it changes nothing.

    A prefix that saves at least `worth_waiting` tokens is waited for while another sequence computes it.
    """

    def __init__(self, cache: PrefixCache, precedence: Precedence, worth_waiting: int) -> None:
        self._cache = cache
        self._precedence = precedence
        self._worth_waiting = worth_waiting

    def first(
        self, waiting: list[Sequence], adapters: Adapters, behind: Collection[str]
    ) -> tuple[Sequence, Placement] | None:
        """Return the first sequence of `waiting` that should get a slot now, and its placement.

        It has these `adapters` and is of no owner that is `behind`. One that will share much of a prompt
        being computed, or read from disk, waits for it, and a slot is kept for it; so do the choices of a
        prompt that is to be scored first.
        """
        n_idle = self._cache.n_idle
        if n_idle > 0:
            waiting = self._line(waiting, behind)
        for sequence in waiting:
            if n_idle <= 0:
                return None
            if sequence.adapters != adapters or sequence.waits_for_scores:
                n_idle -= 1
                continue
            if self._cache.must_wait(sequence):
                continue
            placement = self._cache.place(sequence)
            if placement is None:
                return None
            saved_by_waiting = self._cache.shareable_later(sequence) - placement.n_cached
            if placement.is_loading or saved_by_waiting >= self._worth_waiting:
                n_idle -= 1
                continue
            return sequence, placement
        return None

    def _line(self, waiting: list[Sequence], behind: Collection[str]) -> list[Sequence]:
        """Return those who wait for a slot in the order in which they get one, without owners `behind`.

        Of idle work those that find their tokens in a slot come first: else one takes it from another. Where
        it is that of several owners, theirs do within each one's turn.
        """
        is_idle = bool(waiting) and is_idle_work(waiting[0])
        if self._precedence.shares.is_shared:
            waiting = [one for one in waiting if one.owner not in behind]
            slot_order = self._precedence.slot_order
            if is_idle:
                return sorted(waiting, key=lambda one: (*slot_order(one)[:-2], self._held_first(one)))
            return sorted(waiting, key=slot_order)
        return sorted(waiting, key=self._held_first) if is_idle else waiting

    def _held_first(self, sequence: Sequence) -> int:
        """Return the sort key that puts first who finds most of its tokens in a slot.

        The choices of a prompt that is to be scored stay behind the one that does that.
        """
        if sequence.group.sequences[0].scores_prompt:
            return 0
        placement = self._cache.place(sequence)
        return 0 if placement is None else -placement.n_cached
