"""Which tokens each slot of the KV cache holds, and where a new sequence goes to have least computed again.

Pure bookkeeping: what is to be done to the KV cache comes back as `Trim` and `Copy`. A slot keeps the
tokens of a finished sequence until another one needs the place; those of a running one can be shared too.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.engine.batch import Copy, Trim
from server.engine.sequence import Sequence


class Slot:
    """One place for a sequence. It belongs to `owner` while one runs in it, and else keeps what the last
    one left.

    `resident` is what an idle slot holds; a running owner's tokens are read from the owner.
    """

    __slots__ = ("group_id", "id", "last_used", "owner", "resident")

    def __init__(self, slot_id: int) -> None:
        self.id = slot_id
        self.owner: Sequence | None = None
        self.resident: list[int] = []
        self.group_id: str | None = None
        self.last_used = 0

    @property
    def n_held(self) -> int:
        owner = self.owner  # once: another thread may ask, for statistics
        return len(self.resident) if owner is None else owner.n_computed

    def n_shared(self, tokens: list[int]) -> int:
        """How many of the first of `tokens` this slot holds."""
        held = self.resident if self.owner is None else self.owner.tokens
        return common_prefix(held, tokens, self.n_held)


@dataclass(frozen=True, slots=True)
class Placement:
    """Put a sequence into `slot`, after `memory`; then the slot holds its first `n_cached` tokens."""

    slot: Slot
    n_cached: int
    memory: list[Trim | Copy]


class PrefixCache:
    """The slots. With `can_trim` False only a slot that holds nothing but the prefix can be reused."""

    def __init__(self, n_slots: int, *, can_trim: bool, copy_tokens_min: int) -> None:
        self.slots = [Slot(i) for i in range(n_slots)]
        self._can_trim = can_trim
        self._copy_tokens_min = copy_tokens_min
        self._clock = 0

    @property
    def n_idle(self) -> int:
        return sum(slot.owner is None for slot in self.slots)

    @property
    def n_held_tokens(self) -> int:
        return sum(slot.n_held for slot in self.slots)

    def place(self, sequence: Sequence) -> Placement | None:
        """Where `sequence` would go now; None while every slot has an owner. Changes nothing.

        An idle slot whose content is mostly the shared prefix is used as it is. Otherwise the sequence goes
        into the slot that was least recently used, and the prefix is copied there if that saves enough.
        """
        idle = [slot for slot in self.slots if slot.owner is None]
        if not idle:
            return None
        victim = self._victim(idle)
        source, n_shared = self._longest(sequence)
        if source is not None and source.owner is None:
            mostly_shared = 4 * n_shared >= 3 * len(source.resident)
            if mostly_shared or len(idle) == 1:
                return self._reuse(source, n_shared)
        n_own = self._usable(victim, sequence)
        if source is not None and source is not victim and n_shared - n_own >= self._copy_tokens_min:
            return Placement(victim, n_shared, [Copy(source.id, victim.id, n_shared)])
        return self._reuse(victim, n_own)

    def _victim(self, idle: list[Slot]) -> Slot:
        """The slot to overwrite: of the half that was least recently used, the one that leaves the fewest
        gaps between running sequences. With separate KV streams each gap is one more pass through the
        weights."""
        oldest = sorted(idle, key=lambda slot: (bool(slot.resident), slot.last_used, slot.id))
        running = {slot.id for slot in self.slots if slot.owner is not None}
        half = oldest[: (len(oldest) + 1) // 2]
        return min(half, key=lambda slot: -((slot.id - 1 in running) + (slot.id + 1 in running)))

    def shareable_later(self, sequence: Sequence) -> int:
        """The longest prefix it will share with a running sequence whose prompt isn't computed yet."""
        if not self._can_trim:
            return 0
        limit = len(sequence.tokens) - 1
        return max(
            (
                common_prefix(slot.owner.tokens, sequence.tokens, limit)
                for slot in self.slots
                if slot.owner is not None and slot.owner.n_pending > 1 and _may_share(slot, sequence)
            ),
            default=0,
        )

    def acquire(self, placement: Placement, sequence: Sequence) -> None:
        """Carry out a placement in the books; its `memory` must be done before the sequence's tokens are."""
        slot = placement.slot
        assert slot.owner is None
        slot.owner = sequence
        slot.resident = []
        slot.group_id = sequence.group.id
        sequence.slot = slot.id
        sequence.n_computed = placement.n_cached
        self._touch(slot)

    def release(self, sequence: Sequence) -> None:
        """The sequence leaves its slot; what it computed stays there."""
        assert sequence.slot is not None
        slot = self.slots[sequence.slot]
        assert slot.owner is sequence
        slot.owner = None
        slot.resident = sequence.tokens[: sequence.n_computed]
        sequence.slot = None
        self._touch(slot)

    def evict(self) -> Trim | None:
        """Give up what the least recently used idle slot holds; None if no idle slot holds anything."""
        idle = [slot for slot in self.slots if slot.owner is None and slot.resident]
        if not idle:
            return None
        slot = min(idle, key=lambda slot: slot.last_used)
        slot.resident = []
        return Trim(slot.id, 0)

    def forget(self) -> None:
        """The KV cache was cleared."""
        for slot in self.slots:
            slot.resident = []

    def _longest(self, sequence: Sequence) -> tuple[Slot | None, int]:
        """The slot that holds most of the prompt (of equals one that is idle, then the latest used)."""
        best: Slot | None = None
        best_rank = (0, False, 0)
        for slot in self.slots:
            rank = (self._usable(slot, sequence), slot.owner is None, slot.last_used)
            if rank[0] > 0 and rank > best_rank:
                best, best_rank = slot, rank
        return best, best_rank[0]

    def _usable(self, slot: Slot, sequence: Sequence) -> int:
        """Tokens of `slot` that `sequence` can start from; its last is always computed, for the logits."""
        if not _may_share(slot, sequence):
            return 0
        n = min(slot.n_shared(sequence.tokens), len(sequence.tokens) - 1)
        return n if self._can_trim or n == slot.n_held else 0

    def _reuse(self, slot: Slot, n_keep: int) -> Placement:
        trim: list[Trim | Copy] = [Trim(slot.id, n_keep)] if len(slot.resident) > n_keep else []
        return Placement(slot, n_keep, trim)

    def _touch(self, slot: Slot) -> None:
        self._clock += 1
        slot.last_used = self._clock


def _may_share(slot: Slot, sequence: Sequence) -> bool:
    """Choices of one request always share; others only if the request wants the cache."""
    return sequence.group.request.cache_prompt or slot.group_id == sequence.group.id


def common_prefix(a: list[int], b: list[int], limit: int) -> int:
    """Length of the common prefix of `a` and `b`, at most `limit`. Compares slices: C does the work."""
    low, high = 0, min(len(a), len(b), limit)
    if a[:high] == b[:high]:
        return high
    step = 64
    while a[low : low + step] == b[low : low + step]:
        low += step
        step *= 2
    high = min(high, low + step)
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
