"""The scheduler: which sequences get a slot, and which tokens the next batch has. Pure; no clock.

First come, first served within a priority; the many choices of one request take turns with later requests.
Requests of several owners get equal shares of slots and tokens within a priority (`FairShare`).
Every running sequence that generates gets its next token in every step; prompts are computed in chunks in the
same steps, small ones while anybody generates, so that no stream stalls. A step has one set of LoRA adapters;
sequences with other sets take turns. Work for idle times leaves its slots to everybody else (`idle_work.py`).
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Collection, Iterable, Mapping

from server.engine.batch import Adapters, Batch, BatchEntry, MemoryChange, Relayout, Trim
from server.engine.images import next_start, span_at
from server.engine.prefix.prefix_cache import PrefixCache
from server.engine.request import IDLE_PRIORITY
from server.engine.scheduling.adapter_turns import AdapterTurns
from server.engine.scheduling.admission import Admission
from server.engine.scheduling.entries import chunk_entry, image_entry, next_token_entry
from server.engine.scheduling.idle_work import first_idle_work, is_idle_work
from server.engine.scheduling.kv_layout import KVLayoutPolicy
from server.engine.scheduling.passes import NO_PLAN, Passes, Plan
from server.engine.scheduling.precedence import Precedence
from server.engine.scheduling.prompt_budget import PromptBudget, SchedulerConfig
from server.engine.sequence import Sequence, SequenceStatus, rank
from server.engine.slot import Placement
from server.engine.speculation.step_cost import StepCost

SCORED_FLOATS_MAX = 8 * 2**20
"""The scored tokens of one step have at most this many logits: 32 MiB."""
FORCED_MAX = 16
"""A sequence generates while at most so many forced tokens are pending; more are computed as a prompt is."""


class Scheduler:
    """The waiting and running sequences, and the batches made of them.

    `schedule` doesn't count its tokens as computed: `Sequence.n_computed` grows only after a successful run,
    so a batch that failed is simply scheduled again.
    """

    def __init__(
        self,
        cache: PrefixCache,
        config: SchedulerConfig,
        step_cost: StepCost | None = None,
        layout: KVLayoutPolicy | None = None,
        passes: Passes | None = None,
    ) -> None:
        """`layout` None: the KV cells are divided once and for all. `passes` None: they aren't planned."""
        self.cache = cache
        self.waiting: list[Sequence] = []
        """Sequences without a slot, in order of `rank`."""
        self.running: list[Sequence] = []
        """Sequences with a slot, in order of admission."""
        self.admitted: list[Sequence] = []
        """Sequences that `schedule` gave a slot; the engine empties it after the run."""
        self.n_preemptions = 0
        self.precedence = Precedence(len(cache.slots))
        """The order of the sequences, and the shares of their owners."""
        self._config = config
        self._budget = PromptBudget(config, StepCost() if step_cost is None else step_cost)
        self._turns = AdapterTurns()
        self._admission = Admission(cache, self.precedence, config.copy_tokens_min)
        self._layout = layout
        self._passes = passes
        self._memory: list[MemoryChange] = []
        self._kv_cache_full = False

    @property
    def n_by_adapters(self) -> Mapping[Adapters, int]:
        """The number of live sequences of each set of adapters."""
        return self._turns.n_by_adapters

    @property
    def pending_memory(self) -> tuple[MemoryChange, ...]:
        """The changes to the KV cache that the next batch will carry."""
        return tuple(self._memory)

    def waiting_before(self, priority: int) -> list[Sequence]:
        """Return the sequences that wait with a new one of this priority: idle work is nothing to others."""
        return self.waiting if priority >= IDLE_PRIORITY else self.waiting[: first_idle_work(self.waiting)]

    def is_full_for(self, priority: int, owner: str, queue_size: int) -> bool:
        """Return True if a new sequence has no slot, and no place in a queue of this size.

        An owner with less than its part of the queue has a place, however long it is.
        """
        n_free, is_idle = self.cache.n_idle, priority >= IDLE_PRIORITY
        if not is_idle:
            n_free += sum(map(is_idle_work, self.running))
        limit = queue_size + n_free
        if len(self.waiting_before(priority)) < limit:
            return False
        shares = self.precedence.shares_among(is_idle_work=is_idle)
        n_own = shares.n_live(owner) - shares.n_running(owner)
        return n_own >= limit // len({*shares.owners, owner})

    @property
    def _waiting_now(self) -> list[Sequence]:
        """Those of the waiting sequences that may get a slot now."""
        return self.precedence.idle_work.turn_of(self.waiting)

    def add(self, sequence: Sequence) -> None:
        """Put a new sequence into the queue."""
        bisect.insort(self.waiting, sequence, key=rank)
        self.precedence.add(sequence)
        self._turns.add(sequence.adapters)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence that has ended, in whatever state it is."""
        if sequence.status is SequenceStatus.RUNNING:
            self._leave(sequence)
            self._kv_cache_full = False
        elif sequence.status is SequenceStatus.WAITING:
            self.waiting.remove(sequence)
        if sequence.status is not SequenceStatus.FINISHED:
            sequence.status = SequenceStatus.FINISHED
            self.precedence.remove(sequence)
            self._turns.remove(sequence.adapters)

    def schedule(self) -> Batch:
        """Return the next batch; it has no entries when there is nothing to do."""
        for sequence in self.precedence.idle_work.in_the_way(self.running):
            self._preempt(sequence)
            self._kv_cache_full = False
        self._make_way()
        if self._layout is not None:
            self._change_layout(self._layout)
        for adapters in self._turns.order():
            entries = self._entries(adapters)
            if entries:
                self._turns.count(adapters)
                if len(entries) > 1:
                    entries.sort(key=_slot)
                memory, self._memory = self._memory, []
                plan = self._plan(entries)
                return Batch(memory, entries, adapters, plan.pads, plan.rows)
        return Batch()  # changes to the KV cache wait for the next tokens

    @property
    def passes(self) -> Passes | None:
        """The planner of passes; None while a step is one pass, or they aren't planned."""
        is_shared = self._layout is not None and self._layout.unified
        return None if is_shared else self._passes

    def _plan(self, entries: list[BatchEntry]) -> Plan:
        """Return the passes of all but the chunks, which are computed apart, before them."""
        passes = self.passes
        if passes is None:
            return NO_PLAN
        shape = tuple((entry.slot, len(entry.tokens)) for entry in entries if not entry.is_chunk)
        if not shape:
            return NO_PLAN
        ends = {entry.slot: entry.position + len(entry.tokens) for entry in entries}
        slots, n_stream = self.cache.slots, self._config.n_stream

        def room(slot: int) -> int:
            return n_stream - ends.get(slot, slots[slot].n_held)

        plan = passes.plan(shape, room)
        n_tokens = sum(n for _, n in shape) + sum(plan.pads.values())
        return plan if n_tokens <= self._config.n_batch else passes.plan(shape, lambda _: 0)

    def trim(self, sequence: Sequence) -> None:
        """Cut a sequence's slot back to its computed tokens before the next decode: a draft was rejected."""
        assert sequence.slot is not None
        self._memory.append(Trim(sequence.slot, sequence.n_computed))

    def change(self, changes: Iterable[MemoryChange]) -> None:
        """Make these changes to idle slots before the next decode, after those that wait already."""
        self._memory += changes

    def slide(self, sequence: Sequence) -> None:
        """Let a sequence without room give up its older tokens, and wait for its turn to go on.

        Its slot keeps what was computed, as if the sequence had ended: the next one, or itself, finds there
        what it shares with that.
        """
        if sequence.status is SequenceStatus.RUNNING:
            self._put_back(sequence)
        sequence.slide()

    def make_room(self) -> Sequence | None:
        """Give up resident tokens, or preempt the youngest sequence of the lowest priority.

        Of several owners' it is one of that with most slots.

        Called when the KV cache had no room for the batch. Returns the sequence that can't go on at all,
        because it was alone and had the whole cache.
        """
        if memory := self.cache.evict():
            self._memory += memory
            return None
        if len(self.running) == 1:
            return self.running[0]
        self._preempt(max(self.running, key=self.precedence.burden))
        self._memory += self.cache.evict()
        self._kv_cache_full = True
        return None

    def _preempt(self, sequence: Sequence) -> None:
        """Take a running sequence's slot away for the sake of others."""
        self._put_back(sequence)
        sequence.draft = []
        self.n_preemptions += 1

    def _make_way(self) -> None:
        """Preempt a sequence of an owner with more than its share of slots, if another waits for its own.

        None of a higher priority is preempted, and none that was admitted since the last run.
        """
        if self.cache.n_idle or self._kv_cache_full:
            return  # with a full KV cache those that came in would push each other out, for ever
        waiting = [one for one in self._waiting_now if one.named_slot is None]  # not any slot is theirs
        sequence = self.precedence.one_too_many(waiting, self.running, self.admitted)
        if sequence is not None:
            self._preempt(sequence)

    def _change_layout(self, layout: KVLayoutPolicy) -> None:
        """Let slots share the KV cells, or have streams of their own, from the next batch on."""
        waiting, n_next = self._waiting_now, self.cache.n_idle
        if n_next and self.precedence.shares.is_shared:
            n_next = len(waiting)  # whoever's turn it is, it may be any of them
        unified = layout.decide(self.running, waiting, n_next)
        if unified is None:
            return
        if not unified:
            self._memory += self.cache.evict_longer(layout.n_stream)
        self._memory.append(Relayout(unified))

    # --- one batch -----------------------------------------------------------------------------------

    def _entries(self, adapters: Adapters) -> list[BatchEntry]:
        entries: list[BatchEntry] = []
        prefilling: deque[Sequence] = deque()
        generating: list[Sequence] = []
        n_tokens = 0
        for sequence in self.running:
            n_pending = len(sequence.tokens) - sequence.n_computed
            generates = n_pending == 1 and not sequence.scores_prompt
            if sequence.n_forced and n_pending == sequence.n_forced + 1 <= self._room_for_forced(n_tokens):
                generates = True
            if generates:
                generating.append(sequence)
            if sequence.adapters != adapters:
                continue
            if generates:
                entries.append(next_token_entry(sequence))
                n_tokens += n_pending + len(sequence.draft)
            else:
                prefilling.append(sequence)
        waiting = self._waiting_now
        if not prefilling and not waiting:
            return entries
        precedence = self.precedence
        here = [one for one in waiting if one.adapters == adapters]
        if behind := precedence.behind([*prefilling, *here]):
            others = [one for one in prefilling if one.owner not in behind]
            n_each, shares = precedence.n_each, precedence.shares
            streams = [
                one for one in generating if one.owner not in behind or shares.n_running(one.owner) <= n_each
            ]
            if chunks := self._chunks(others, streams, adapters, n_tokens, behind):
                return entries + chunks
        return entries + self._chunks(prefilling, generating, adapters, n_tokens)

    def _chunks(
        self,
        prompts: Collection[Sequence],
        generating: Collection[Sequence],
        adapters: Adapters,
        n_tokens: int,
        behind: Collection[str] = (),
    ) -> list[BatchEntry]:
        """Return the chunks of prompts in a step that has `n_tokens` of others.

        `prompts` have slots already. Those of the owners that are `behind` get none.
        """
        chunks: list[BatchEntry] = []
        waiting = self._waiting_now
        if behind:
            waiting = [one for one in waiting if one.owner not in behind]
        if not prompts and not waiting:
            return chunks
        prefilling = deque(sorted(prompts, key=self.precedence.order) if len(prompts) > 1 else prompts)
        n_generating = len(generating) - self._n_just_begun([*prefilling, *waiting], behind)
        n_prompts = len(prefilling) + min(len(waiting), self.cache.n_idle)
        budget = self._budget.tokens(n_prompts, n_generating, n_tokens, has_priority=bool(behind))
        n_scored_left = max(1, SCORED_FLOATS_MAX // self._config.n_vocab)
        has_image = False
        while (
            budget > 0 and n_scored_left > 0 and (prompt := self._next_prompt(prefilling, adapters, behind))
        ):
            image = span_at(prompt.images, prompt.n_computed) if prompt.images else None
            if image is not None:
                if not has_image:  # each takes long, so the next one waits for the next step
                    chunks.append(image_entry(prompt, image))
                    has_image = True
                    budget -= image.n_tokens
                continue
            n = min(prompt.n_pending, budget, self._n_to_checkpoint(prompt), _n_to_image(prompt))
            if prompt.scores_prompt:
                n = min(n, n_scored_left)
                n_scored_left -= n
            chunks.append(chunk_entry(prompt, n))
            budget -= n
        return chunks

    def _n_to_checkpoint(self, prompt: Sequence) -> int:
        """Return the tokens up to the next place at which the state of its slot is kept, or up to its end."""
        checkpoints, n_computed = self.cache.checkpoints, prompt.n_computed
        if checkpoints is None or prompt.slot is None:
            return prompt.n_pending
        return checkpoints.chunk_end(prompt.slot, n_computed, prompt.borders) - n_computed

    def _room_for_forced(self, n_tokens: int) -> int:
        """Return how many pending tokens a sequence that generates may have in a step that has `n_tokens`.

        A batch has room for every running sequence's next token and draft, whatever was forced.
        """
        least = sum(1 + len(sequence.draft) for sequence in self.running)
        return min(FORCED_MAX + 1, self._config.n_batch - max(n_tokens, 0) - least)

    def _n_just_begun(self, prompts: list[Sequence], behind: Collection[str]) -> int:
        """Return how many have just got their first token, while one of the `prompts` was waiting already.

        Those who came together begin together: prompts in large pieces first, and then all generate. Theirs
        is the one gap that may be longer.
        """
        came_s = min(prompt.group.submitted_s for prompt in prompts)
        begun = (
            one.group
            for one in self.running
            if one.n_generated == 1 and one.n_pending == 1 and one.owner not in behind
        )
        return sum(group.first_token_s is not None and group.first_token_s > came_s for group in begun)

    def _next_prompt(
        self, prefilling: deque[Sequence], adapters: Adapters, behind: Collection[str]
    ) -> Sequence | None:
        """Return the sequence of the next prompt chunk: the first in order that has a slot or can get one."""
        order = self.precedence.order
        admissible = None
        if self.waiting and not (self._kv_cache_full and self.running):
            admissible = self._admission.first(self._waiting_now, adapters, behind)
        if prefilling and (admissible is None or order(prefilling[0]) < order(admissible[0])):
            return prefilling.popleft()
        if admissible is None:
            return None
        sequence, placement = admissible
        self.waiting.remove(sequence)
        self._enter(sequence, placement)
        return sequence

    def _enter(self, sequence: Sequence, placement: Placement) -> None:
        self.cache.acquire(placement, sequence)
        self._memory.extend(placement.memory)
        sequence.status = SequenceStatus.RUNNING
        self.running.append(sequence)
        self.precedence.enter(sequence)
        self.admitted.append(sequence)

    def _put_back(self, sequence: Sequence) -> None:
        """Put a running sequence back into the queue; its slot keeps what was computed until it is needed."""
        self._leave(sequence)
        sequence.status = SequenceStatus.WAITING
        bisect.insort(self.waiting, sequence, key=rank)

    def _leave(self, sequence: Sequence) -> None:
        if sequence.n_computed > len(sequence.tokens):  # it ended inside an accepted draft
            sequence.n_computed = len(sequence.tokens)
            self.trim(sequence)
        self.cache.release(sequence)
        self.running.remove(sequence)
        self.precedence.leave(sequence)


def _n_to_image(prompt: Sequence) -> int:
    """Return the tokens up to the next image of a prompt, or up to its end."""
    start = next_start(prompt.images, prompt.n_computed) if prompt.images else None
    return prompt.n_pending if start is None else start - prompt.n_computed


def _slot(entry: BatchEntry) -> int:
    return entry.slot
