"""The prefix cache: the tokens of each slot, and the slot where a new sequence has least to compute.

Pure bookkeeping: the changes to make in the KV cache are returned as `MemoryChange`s. A slot keeps the
tokens of a finished sequence until another one needs the place; those of a running one can be shared too. A
radix tree over all of them finds the longest prefix. Prefixes kept on disk come from a `PrefixSource`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from server.engine.batch import Checkpoint, Copy, MemoryChange, Restore, Save, Trim
from server.engine.images import whole_prefix
from server.engine.prefix.checkpoints import Checkpoints
from server.engine.prefix.prefix_source import PrefixSource, StoredPrefix
from server.engine.prefix.radix_tree import RadixTree, common_prefix
from server.engine.sequence import Sequence
from server.engine.slot import Placement, Slot

RESTORE_TOKENS_MIN = 128
"""A prefix is restored from outside if that saves at least so many tokens."""
SAVE_TOKENS_MIN = 256
"""Fewer tokens than this are not kept outside: they are soon computed again."""
HOT_TOKENS = 1024
"""An idle slot's tokens are kept outside if they were used again, or if they are at least so many."""


class PrefixCache:
    """The slots and who holds them. Without `can_trim` only a slot that holds just the prefix can be reused.

    `holds(slot, n)` is true if a slot still has all that is needed after its first n tokens; None: all do
    (memory with a sliding window forgets what lies before the window). Where a slot can't be cut back, it
    goes back to one of its `checkpoints`; None: it has none.
    """

    def __init__(
        self,
        n_slots: int,
        *,
        can_trim: bool,
        copy_tokens_min: int,
        holds: Callable[[int, int], bool] | None = None,
        source: PrefixSource | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.checkpoints = checkpoints
        self.slots = [Slot(i) for i in range(n_slots)]
        self._can_trim = can_trim
        self._copy_tokens_min = copy_tokens_min
        self._holds = holds
        self._source = source
        self._tree: RadixTree[int] = RadixTree()
        self._clock = 0

    @property
    def n_idle(self) -> int:
        """The number of slots without an owner."""
        return sum(slot.owner is None for slot in self.slots)

    @property
    def n_held_tokens(self) -> int:
        """The number of tokens in all slots."""
        return sum(slot.n_held for slot in self.slots)

    # --- placement -------------------------------------------------------------------------------

    def place(self, sequence: Sequence) -> Placement | None:
        """Return where `sequence` would go now; None while every slot has an owner. Nothing changes.

        An idle slot whose content is mostly the shared prefix is used as it is. Otherwise the sequence goes
        into the slot that was least recently used, and the prefix is copied there, or restored from disk, if
        that saves enough. One that names its slot has only what that holds, or what is on disk.
        """
        idle = [slot for slot in self.slots if slot.owner is None]
        if not idle or self.must_wait(sequence):
            return None
        named = sequence.named_slot
        if named is None:
            victim = self._victim(idle)
            placement = self._resident_placement(sequence, idle, victim)
        else:
            victim = self.slots[named]
            placement = self._reuse(victim, self._longest(sequence, victim)[2])
        stored = self._prefix_outside(sequence, placement.n_cached)
        if stored is None:
            return placement
        if not stored.ready:
            return Placement(victim, stored.n_tokens, [], is_loading=True)
        at = next((one for one in stored.checkpoints if one.n_tokens == stored.n_tokens), None)
        restore = Restore(victim.id, stored.key, stored.n_tokens, at)
        memory = [*self._rescue(victim, 0), restore]
        return Placement(victim, stored.n_tokens, memory, checkpoints=stored.checkpoints)

    def must_wait(self, sequence: Sequence) -> bool:
        """Return True while another sequence has the slot that this one names."""
        named = sequence.named_slot
        return named is not None and self.slots[named].owner is not None

    def _resident_placement(self, sequence: Sequence, idle: list[Slot], victim: Slot) -> Placement:
        source, n_shared, n_own = self._longest(sequence, victim)
        if source is not None and source.owner is None:
            mostly_shared = 4 * n_shared >= 3 * len(source.resident)
            if mostly_shared or len(idle) == 1:
                return self._reuse(source, n_shared)
        if source is not None and source is not victim and n_shared - n_own >= self._copy_tokens_min:
            copy = Copy(source.id, victim.id, n_shared, self._checkpoint_at(source, n_shared))
            memory = [*self._rescue(victim, 0), copy]
            return Placement(victim, n_shared, memory, source, checkpoints=self._checkpoints_of(source))
        return self._reuse(victim, n_own)

    def _victim(self, idle: list[Slot]) -> Slot:
        """Return the slot to overwrite.

        Of the half that was least recently used it is the one that leaves the fewest gaps between running
        sequences: with separate KV streams each gap is one more pass through the weights.
        """
        oldest = sorted(idle, key=lambda slot: (bool(slot.resident), slot.last_used, slot.id))
        running = {slot.id for slot in self.slots if slot.owner is not None}
        half = oldest[: (len(oldest) + 1) // 2]
        return min(half, key=lambda slot: -((slot.id - 1 in running) + (slot.id + 1 in running)))

    def shareable_later(self, sequence: Sequence) -> int:
        """Return the longest prefix it will share with a running sequence whose prompt isn't computed yet.

        Of one that can't be trimmed that is what comes before its checkpoint, there already or still to come.
        """
        if sequence.named_slot is not None:
            return 0
        return max(
            (
                self._usable_later(slot, slot.owner, n_shared)
                for slot, n_shared in self._shared(sequence)
                if slot.owner is not None and slot.owner.n_pending > 1
            ),
            default=0,
        )

    def _usable_later(self, slot: Slot, owner: Sequence, n_shared: int) -> int:
        if self._can_trim:
            return n_shared
        if self.checkpoints is None:
            return 0
        return self.checkpoints.latest_to_come(slot.id, owner.n_computed, n_shared, owner.borders)

    def _longest(self, sequence: Sequence, victim: Slot) -> tuple[Slot | None, int, int]:
        """Return the slot that gives most of the prompt, how much it gives, and how much the victim gives.

        Of equals an idle slot is preferred, then the latest used.
        """
        best: Slot | None = None
        best_rank = (0, False, 0)
        n_own = 0
        for slot, n_shared in self._shared(sequence):
            n = self._usable(slot, n_shared)
            if slot is victim:
                n_own = n
            rank = (n, slot.owner is None, slot.last_used)
            if n > 0 and rank > best_rank:
                best, best_rank = slot, rank
        return best, best_rank[0], n_own

    def _shared(self, sequence: Sequence) -> Iterator[tuple[Slot, int]]:
        """Yield the slots that `sequence` may share with, and how many of its tokens each has or will have.

        Its last token doesn't count: it is always computed, for the logits. Of an image they share all or
        nothing.
        """
        if sequence.scores_prompt:
            return
        tokens = sequence.tokens
        limit = len(tokens) - 1
        for depth, holders in self._tree.matches(tokens, limit):
            for slot_id in holders:
                slot = self.slots[slot_id]
                if not _may_share(slot, sequence):
                    continue
                n_shared = depth
                if slot.owner is not None and depth == slot.n_in_tree < limit:
                    n_shared += common_prefix(slot.owner.tokens[depth:], tokens, limit - depth, depth)
                yield slot, whole_prefix(sequence.images, n_shared) if sequence.images else n_shared

    def _usable(self, slot: Slot, n_shared: int) -> int:
        """Return how many of the shared tokens a sequence can start from."""
        if self._goes_on_after(slot, n_shared):
            return min(n_shared, slot.n_held)
        if self.checkpoints is None or slot.n_held <= slot.n_at_start:
            return 0
        checkpoint = self.checkpoints.latest(slot.id, n_shared)
        return 0 if checkpoint is None else checkpoint.n_tokens

    def _goes_on_after(self, slot: Slot, n_tokens: int) -> bool:
        """Return True if a sequence can start from the first `n_tokens` of a slot, or all, as they are."""
        if n_tokens >= slot.n_held:
            return True
        if not self._can_trim:
            return False
        return self._holds is None or (slot.n_held > slot.n_at_start and self._holds(slot.id, n_tokens))

    def _checkpoint_at(self, slot: Slot, n_tokens: int) -> Checkpoint | None:
        """Return the checkpoint after these tokens, if the slot can't be cut back to them without it."""
        if not n_tokens or self.checkpoints is None or self._goes_on_after(slot, n_tokens):
            return None
        return self.checkpoints.latest(slot.id, n_tokens)

    def _checkpoints_of(self, slot: Slot) -> tuple[Checkpoint, ...]:
        return () if self.checkpoints is None else tuple(self.checkpoints.of(slot.id))

    def _prefix_outside(self, sequence: Sequence, n_cached: int) -> StoredPrefix | None:
        """Return a prefix kept outside that saves more than the slots do."""
        if self._source is None or sequence.scores_prompt or not sequence.group.request.cache_prompt:
            return None
        least = n_cached + RESTORE_TOKENS_MIN
        tokens = sequence.tokens
        if sequence.images:  # none are kept
            tokens = [*tokens[: sequence.images[0].start], 0]
        if len(tokens) <= least:
            return None
        return self._source.longest(tokens, sequence.adapters, least)

    def _reuse(self, slot: Slot, n_keep: int) -> Placement:
        memory = self._rescue(slot, n_keep)
        if len(slot.resident) > n_keep:
            memory.append(Trim(slot.id, n_keep, self._checkpoint_at(slot, n_keep)))
        source = slot if n_keep else None
        return Placement(slot, n_keep, memory, source, checkpoints=self._checkpoints_of(slot))

    # --- the books -------------------------------------------------------------------------------

    def acquire(self, placement: Placement, sequence: Sequence) -> None:
        """Enter a placement in the books; its `memory` must be done before the sequence is computed."""
        slot = placement.slot
        assert slot.owner is None
        assert not placement.is_loading
        if placement.source is None:
            slot.n_reused = 0
        else:
            placement.source.n_reused += 1
            slot.n_reused = placement.source.n_reused
        slot.owner = sequence
        slot.resident = []
        slot.group_id = sequence.group.id
        slot.adapters = sequence.adapters
        slot.may_keep = sequence.group.request.cache_prompt
        slot.has_images = bool(sequence.images)
        slot.n_at_start = placement.n_cached
        sequence.slot = slot.id
        sequence.n_computed = placement.n_cached
        if self.checkpoints is not None:
            self.checkpoints.begin(slot.id, placement.checkpoints, placement.n_cached)
        self._enter(slot, sequence.tokens)
        self._touch(slot)

    def release(self, sequence: Sequence) -> None:
        """Take the sequence out of its slot; what it computed stays there."""
        assert sequence.slot is not None
        slot = self.slots[sequence.slot]
        assert slot.owner is sequence
        slot.resident = sequence.tokens[: sequence.n_computed]
        slot.owner = None
        sequence.slot = None
        if self.checkpoints is not None:
            self.checkpoints.end(slot.id, len(slot.resident))
        if len(slot.resident) >= slot.n_in_tree:
            self._tree.extend(slot.id, slot.resident, slot.n_in_tree)
            slot.n_in_tree = len(slot.resident)
        else:
            self._enter(slot, slot.resident)
        self._touch(slot)

    def restart(self, slot_id: int) -> None:
        """Note that the slot is empty, because what was to be restored there could not be.

        Its owner, if it has one, begins at its first token.
        """
        slot = self.slots[slot_id]
        slot.n_at_start = 0
        slot.n_reused = 0
        if slot.owner is None:
            self._empty(slot)
        else:
            slot.owner.n_computed = 0
            slot.owner.draft = []
            self._forget_checkpoints(slot)

    def fill(self, slot_id: int, tokens: list[int], checkpoints: Iterable[Checkpoint] = ()) -> None:
        """Note that an idle slot will hold these tokens, computed without adapters, instead of its own."""
        slot = self.slots[slot_id]
        assert slot.owner is None
        slot.resident, slot.adapters, slot.group_id = tokens, (), None
        slot.may_keep = slot.has_images = False
        slot.n_at_start, slot.n_reused = len(tokens), 0
        if self.checkpoints is not None:
            self.checkpoints.begin(slot.id, checkpoints, len(tokens))
        self._enter(slot, tokens)
        self._touch(slot)

    def erase(self, slot_id: int) -> None:
        """Note that an idle slot holds nothing any more."""
        slot = self.slots[slot_id]
        assert slot.owner is None
        self._empty(slot)

    def evict(self) -> list[MemoryChange]:
        """Empty the least recently used idle slot, keeping its tokens outside if they are worth it.

        Returns no change if no idle slot holds anything.
        """
        idle = [slot for slot in self.slots if slot.owner is None and slot.resident]
        if not idle:
            return []
        return self._evict(min(idle, key=lambda slot: slot.last_used))

    def evict_longer(self, n_tokens: int) -> list[MemoryChange]:
        """Empty the idle slots that hold more than `n_tokens`, as `evict` does."""
        long = [slot for slot in self.slots if slot.owner is None and len(slot.resident) > n_tokens]
        return [change for slot in long for change in self._evict(slot)]

    def _evict(self, slot: Slot) -> list[MemoryChange]:
        memory = [*self._rescue(slot, 0), Trim(slot.id, 0)]
        self._empty(slot)
        return memory

    def forget(self) -> None:
        """Note that the KV cache was cleared."""
        for slot in self.slots:
            if slot.owner is None:
                self._empty(slot)

    def leftovers(self) -> Iterator[Save]:
        """Yield what is worth keeping when nothing runs any more, the latest used first."""
        idle = [slot for slot in self.slots if slot.owner is None]
        for slot in sorted(idle, key=lambda slot: -slot.last_used):
            if self._is_wanted(slot, beside_others=False):
                yield self.save(slot)

    def _rescue(self, slot: Slot, n_keep: int) -> list[MemoryChange]:
        """Return the change that keeps what an idle slot is about to lose, if it is worth keeping."""
        resident = slot.resident
        hot = slot.n_reused > 0 or len(resident) >= HOT_TOKENS
        if self._source is None or not hot or len(resident) - n_keep < SAVE_TOKENS_MIN:
            return []
        beside_others = any(slot.owner is not None for slot in self.slots)
        if not self._is_wanted(slot, beside_others=beside_others):
            return []
        return [self.save(slot)]

    def save(self, slot: Slot) -> Save:
        """Return the change that keeps what an idle slot holds."""
        return Save(slot.id, slot.resident, slot.adapters, self._checkpoints_of(slot))

    def _is_wanted(self, slot: Slot, *, beside_others: bool) -> bool:
        if self._source is None or not slot.may_keep or slot.has_images:
            return False
        if len(slot.resident) < SAVE_TOKENS_MIN:
            return False
        return self._source.wants(slot.resident, slot.adapters, beside_others=beside_others)

    def _enter(self, slot: Slot, tokens: list[int]) -> None:
        self._tree.remove(slot.id)
        self._tree.insert(slot.id, tokens)
        slot.n_in_tree = len(tokens)

    def _empty(self, slot: Slot) -> None:
        slot.resident = []
        slot.n_in_tree = 0
        self._tree.remove(slot.id)
        self._forget_checkpoints(slot)

    def _forget_checkpoints(self, slot: Slot) -> None:
        if self.checkpoints is not None:
            self.checkpoints.end(slot.id, 0)

    def _touch(self, slot: Slot) -> None:
        self._clock += 1
        slot.last_used = self._clock


def _may_share(slot: Slot, sequence: Sequence) -> bool:
    """Return True if `sequence` may use what `slot` holds.

    Choices of one request always share; others only if the request wants the cache. Other adapters make
    other states, and a prompt that is to be scored is computed again.
    """
    if sequence.scores_prompt or slot.adapters != sequence.adapters:
        return False
    return sequence.group.request.cache_prompt or slot.group_id == sequence.group.id
