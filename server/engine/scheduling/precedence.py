"""`Precedence`: who goes first: by priority, then by the owners' shares, then by arrival. Pure.

Work for idle times has shares of its own: whoever has some there is nobody to those who have a request now.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence as Several

from server.engine.scheduling.fair_share import FairShare
from server.engine.scheduling.idle_work import IdleWork, is_idle_work
from server.engine.sequence import Sequence, rank


class Precedence:
    """The order of the live sequences of a scheduler that has `n_slots`, and the books that it goes by."""

    def __init__(self, n_slots: int) -> None:
        self.idle_work = IdleWork()
        self._n_slots = n_slots
        self._shares = FairShare()
        self._idle_shares = FairShare()

    @property
    def shares(self) -> FairShare:
        """The shares of those whose turn it is: of idle work only while there is nothing else."""
        return self._shares if self._shares.n_owners else self._idle_shares

    def shares_among(self, *, is_idle_work: bool) -> FairShare:
        """Return the shares of those who have work for idle times, or of the others."""
        return self._idle_shares if is_idle_work else self._shares

    @property
    def n_each(self) -> int:
        """The number of slots that each owner may hold against others, at this time."""
        return self.shares.slots_each(self._n_slots)

    # --- books ---------------------------------------------------------------------------------------

    def add(self, sequence: Sequence) -> None:
        """Note a new sequence."""
        self.idle_work.count(sequence, 1)
        self._shares_of(sequence).add(sequence.owner)

    def remove(self, sequence: Sequence) -> None:
        """Note a sequence's end."""
        self.idle_work.count(sequence, -1)
        self._shares_of(sequence).remove(sequence.owner)

    def enter(self, sequence: Sequence) -> None:
        """Note that a sequence got a slot."""
        shares = self._shares_of(sequence)
        shares.enter(sequence.owner)
        sequence.n_used_before = shares.used(sequence.owner)

    def leave(self, sequence: Sequence) -> None:
        """Note that a sequence has no slot any more."""
        self._shares_of(sequence).leave(sequence.owner)

    def _shares_of(self, sequence: Sequence) -> FairShare:
        return self.shares_among(is_idle_work=is_idle_work(sequence))

    # --- orders --------------------------------------------------------------------------------------

    def order(self, sequence: Sequence) -> tuple[int, ...]:
        """Return the sort key of prompts: `rank`, where owners with less computed go first in a priority.

        A prompt in work of an owner with no more than its share of sequences keeps the place with which it
        began: it would lose it to others half done.
        """
        first, *others = rank(sequence)
        shares, owner = self.shares, sequence.owner
        if not shares.is_shared:
            return first, *others
        used = shares.used(owner)
        if sequence.slot is not None and shares.n_live(owner) <= self.n_each:
            used = sequence.n_used_before
        return first, used, shares.n_live(owner), *others

    def slot_order(self, sequence: Sequence) -> tuple[int, ...]:
        """Return the sort key of those that wait for a slot: owners with fewer slots go first."""
        first, *others = self.order(sequence)
        return first, self.shares.n_running(sequence.owner), *others

    def burden(self, sequence: Sequence) -> tuple[int, ...]:
        """Return the sort key by which the last one has to go: of the owner with most slots, the youngest."""
        first, *others = rank(sequence)
        if not self.shares.is_shared:
            return first, *others
        return first, self.shares.n_running(sequence.owner), *others

    # --- those who let others go first ---------------------------------------------------------------

    def one_too_many(
        self, waiting: Several[Sequence], running: Several[Sequence], admitted: Collection[Sequence]
    ) -> Sequence | None:
        """Return a running sequence of an owner with more than its share, if another waits for its own.

        None of a higher priority is returned, and none of those just `admitted`. Owners that are `behind`
        would not get the slot.
        """
        shares, n_each = self.shares, self.n_each
        if not shares.is_shared or not any(shares.n_running(owner) < n_each for owner in shares.owners):
            return None
        entitled = [
            sequence
            for sequence in waiting
            if shares.n_running(sequence.owner) < n_each and not sequence.waits_for_scores
        ]
        if not entitled:
            return None
        behind = self.behind([*waiting, *(one for one in running if one.n_pending > 1)])
        entitled = [sequence for sequence in entitled if sequence.owner not in behind]
        if not entitled:
            return None
        first = min(entitled, key=self.slot_order)
        candidates = [
            sequence
            for sequence in running
            if shares.n_running(sequence.owner) > n_each
            and sequence.group.request.priority >= first.group.request.priority
            and sequence not in admitted
        ]
        return max(candidates, key=self.burden, default=None)

    def behind(self, prompts: Several[Sequence]) -> frozenset[str]:
        """Return the owners that let the first of these prompts go first, as they want more than their share.

        Their prompts wait for a step without that one; the streams of those that have more than their share
        don't make its chunks smaller.
        """
        if not self.shares.is_shared or not prompts:
            return frozenset()
        shares, front = self.shares, min(prompts, key=self.order)
        n_used = self.order(front)[1]
        n_each = self.n_each
        return frozenset(
            owner
            for owner in shares.owners
            if owner != front.owner and shares.n_live(owner) > n_each and shares.used(owner) >= n_used
        )
