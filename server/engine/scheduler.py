"""Decides what the next decode computes: who gets a slot, whose prompt goes on by how much. Pure; no clock.

First come, first served. Every running sequence that generates gets its next token in every step; prompts are
computed in chunks beside them, small ones while anybody generates, so that no stream stalls for long.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from server.engine.batch import Batch, BatchEntry, Copy, Trim
from server.engine.prefix_cache import Placement, PrefixCache
from server.engine.sequence import Sequence, SequenceStatus


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """Token budgets of a step, and the prefix worth a copy or a wait."""

    n_batch: int
    prefill_chunk_tokens: int = 256
    """Prompt tokens in a step while other sequences generate."""
    prefill_tokens_alone: int = 512
    """Prompt tokens in a step while none does: bounds the time until a new request is seen."""
    copy_tokens_min: int = 32
    """A prefix is copied from another slot, or waited for, if that saves at least so many tokens."""


class Scheduler:
    """Waiting and running sequences. `schedule` doesn't count its tokens as computed: `Sequence.n_computed`
    grows only after a successful run, so a batch that failed is simply scheduled again."""

    def __init__(self, cache: PrefixCache, config: SchedulerConfig) -> None:
        self.cache = cache
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        """In order of admission."""
        self.admitted: list[tuple[Sequence, int]] = []
        """Sequences that the last `schedule` gave a slot, and how many of their tokens were there already."""
        self.n_preemptions = 0
        self._config = config
        self._memory: list[Trim | Copy] = []
        self._kv_cache_full = False

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take out a sequence that has ended, in whatever state it is."""
        if sequence.status is SequenceStatus.RUNNING:
            self._leave(sequence)
            self._kv_cache_full = False
        elif sequence.status is SequenceStatus.WAITING:
            self.waiting.remove(sequence)
        sequence.status = SequenceStatus.FINISHED

    def schedule(self) -> Batch:
        """The next batch; without entries when there is nothing to do."""
        self.admitted.clear()
        generating = [sequence for sequence in self.running if sequence.n_pending == 1]
        chunks = [(sequence, 1) for sequence in generating]
        budget = self._config.prefill_chunk_tokens if generating else self._config.prefill_tokens_alone
        budget = min(budget, self._config.n_batch - len(generating))
        prefilling = deque(sequence for sequence in self.running if sequence.n_pending > 1)
        while budget > 0 and (prompt := self._next_prompt(prefilling)) is not None:
            n = min(prompt.n_pending, budget)
            chunks.append((prompt, n))
            budget -= n
        if not chunks:
            return Batch()  # changes to the KV cache wait for the next tokens
        batch = Batch(memory=self._memory, entries=[_entry(sequence, n) for sequence, n in chunks])
        batch.entries.sort(key=lambda entry: entry.slot)
        self._memory = []
        return batch

    def make_room(self) -> Sequence | None:
        """The KV cache had no room for the batch: give up resident tokens, or preempt the youngest sequence.

        Returns the sequence that can't go on at all, because it was alone and had the whole cache.
        """
        if (trim := self.cache.evict()) is not None:
            self._memory.append(trim)
            return None
        if len(self.running) == 1:
            return self.running[0]
        sequence = self.running[-1]
        self._leave(sequence)
        sequence.status = SequenceStatus.WAITING
        self.waiting.appendleft(sequence)
        if (trim := self.cache.evict()) is not None:
            self._memory.append(trim)
        self._kv_cache_full = True
        self.n_preemptions += 1
        return None

    def _next_prompt(self, prefilling: deque[Sequence]) -> Sequence | None:
        """Whose prompt goes on: the first to have come of those with a slot and those that can get one."""
        admissible = self._admissible()
        if prefilling and (admissible is None or prefilling[0].id < admissible[0].id):
            return prefilling.popleft()
        if admissible is None:
            return None
        sequence, placement = admissible
        self.waiting.remove(sequence)
        self._enter(sequence, placement)
        return sequence

    def _admissible(self) -> tuple[Sequence, Placement] | None:
        """The first waiting sequence that should get a slot now, and where.

        One that will share much of a prompt being computed waits for it, and a slot is kept for it.
        """
        if self._kv_cache_full and self.running:
            return None
        n_idle = self.cache.n_idle
        for sequence in self.waiting:
            if n_idle <= 0:
                return None
            placement = self.cache.place(sequence)
            if placement is None:
                return None
            saved_by_waiting = self.cache.shareable_later(sequence) - placement.n_cached
            if saved_by_waiting >= self._config.copy_tokens_min:
                n_idle -= 1
                continue
            return sequence, placement
        return None

    def _enter(self, sequence: Sequence, placement: Placement) -> None:
        self.cache.acquire(placement, sequence)
        self._memory.extend(placement.memory)
        sequence.status = SequenceStatus.RUNNING
        self.running.append(sequence)
        self.admitted.append((sequence, placement.n_cached))

    def _leave(self, sequence: Sequence) -> None:
        self.cache.release(sequence)
        self.running.remove(sequence)


def _entry(sequence: Sequence, n_tokens: int) -> BatchEntry:
    assert sequence.slot is not None
    start = sequence.n_computed
    end = start + n_tokens
    return BatchEntry(
        sequence_id=sequence.id,
        slot=sequence.slot,
        tokens=sequence.tokens[start:end],
        position=start,
        wants_output=end == len(sequence.tokens),
        ban_eog=sequence.must_go_on,
    )
