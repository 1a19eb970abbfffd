from __future__ import annotations

from server.engine.batch import Batch, Trim
from server.engine.prefix.prefix_cache import PrefixCache
from server.engine.scheduling.prompt_budget import SchedulerConfig
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import Sequence, SequenceStatus
from tests.server.engine.harness import group_of, request


def scheduler_of(n_slots: int = 3, *, chunk: int = 10, alone: int = 40, n_batch: int = 64) -> Scheduler:
    config = SchedulerConfig(
        n_batch=n_batch, n_vocab=100, prefill_chunk_tokens=chunk, prefill_tokens_alone=alone
    )
    return Scheduler(PrefixCache(n_slots, can_trim=True, copy_tokens_min=32), config)


def add(scheduler: Scheduler, first: int, length: int, *, n: int = 1) -> list[Sequence]:
    group = group_of(request(range(first, first + length), n=n))
    for sequence in group.sequences:
        scheduler.add(sequence)
    return group.sequences


def compute(scheduler: Scheduler, batch: Batch) -> None:
    """Do what the engine does after a run: count the tokens, append a sampled one."""
    for entry in batch.entries:
        sequence = next(s for s in scheduler.running if s.id == entry.sequence_id)
        sequence.n_computed += len(entry.tokens)
        if bool(entry.n_outputs):
            sequence.tokens.append(7)


def shape(batch: Batch) -> list[tuple[int, int, bool]]:
    """(slot, number of tokens, wants output) of each entry."""
    return [(entry.slot, len(entry.tokens), bool(entry.n_outputs)) for entry in batch.entries]


def test_a_prompt_alone_gets_the_large_budget_and_an_output_at_its_end() -> None:
    scheduler = scheduler_of()
    add(scheduler, 0, 60)
    batch = scheduler.schedule()
    assert shape(batch) == [(0, 40, False)]
    compute(scheduler, batch)
    batch = scheduler.schedule()
    assert shape(batch) == [(0, 20, True)]
    assert batch.entries[0].position == 40


def test_beside_others_a_prompt_goes_on_in_small_chunks() -> None:
    scheduler = scheduler_of()
    add(scheduler, 0, 5)
    compute(scheduler, scheduler.schedule())
    add(scheduler, 100, 25)
    shapes = []
    for _ in range(4):
        batch = scheduler.schedule()
        shapes.append(shape(batch))
        compute(scheduler, batch)
    assert shapes == [
        [(0, 1, True), (1, 10, False)],
        [(0, 1, True), (1, 10, False)],
        [(0, 1, True), (1, 5, True)],
        [(0, 1, True), (1, 1, True)],
    ]


def test_the_budget_goes_first_come_first_served_and_the_rest_to_the_next() -> None:
    scheduler = scheduler_of(alone=40)
    add(scheduler, 0, 25)
    add(scheduler, 100, 25)
    add(scheduler, 200, 25)
    batch = scheduler.schedule()
    assert shape(batch) == [(0, 25, True), (1, 15, False)]
    assert len(scheduler.waiting) == 1, "without budget there is no reason to take a slot yet"


def test_a_batch_never_exceeds_n_batch() -> None:
    scheduler = scheduler_of(n_slots=3, chunk=100, alone=100, n_batch=16)
    add(scheduler, 0, 3)
    compute(scheduler, scheduler.schedule())
    add(scheduler, 100, 50)
    batch = scheduler.schedule()
    assert batch.n_tokens == 16


def test_entries_come_in_the_order_of_their_slots() -> None:
    scheduler = scheduler_of(n_slots=3)
    first = add(scheduler, 0, 4)[0]
    second = add(scheduler, 100, 4)[0]
    compute(scheduler, scheduler.schedule())
    scheduler.remove(first)
    for start in (200, 300):
        add(scheduler, start, 4)
    batch = scheduler.schedule()
    assert second.slot == 1
    assert [entry.slot for entry in batch.entries] == [0, 1, 2]


def test_a_failed_batch_is_scheduled_again_as_it_was() -> None:
    scheduler = scheduler_of()
    add(scheduler, 0, 60)
    first = shape(scheduler.schedule())
    assert shape(scheduler.schedule()) == first


def test_choices_wait_for_the_prompt_they_share_and_strangers_pass() -> None:
    scheduler = scheduler_of(n_slots=4, alone=40)
    first, second, third = add(scheduler, 0, 75, n=3)
    stranger = add(scheduler, 500, 60)[0]
    compute(scheduler, scheduler.schedule())
    assert [first.status, second.status, third.status] == [
        SequenceStatus.RUNNING,
        SequenceStatus.WAITING,
        SequenceStatus.WAITING,
    ]
    batch = scheduler.schedule()
    assert [entry.sequence_id for entry in batch.entries] == [first.id, stranger.id]
    compute(scheduler, batch)
    batch = scheduler.schedule()
    assert [(entry.sequence_id, len(entry.tokens)) for entry in batch.entries] == [
        (first.id, 1),
        (stranger.id, 8),
        (second.id, 1),
        (third.id, 1),
    ], "they came before the stranger, so they are served before it"
    assert second.n_computed >= 74
    assert third.n_computed >= 74


def test_a_slot_is_kept_for_one_who_waits_for_a_prefix() -> None:
    scheduler = scheduler_of(n_slots=2, alone=40)
    _, second = add(scheduler, 0, 75, n=2)
    stranger = add(scheduler, 500, 60)[0]
    for _ in range(3):
        compute(scheduler, scheduler.schedule())
    assert second.status is SequenceStatus.RUNNING
    assert stranger.status is SequenceStatus.WAITING


def test_a_full_cache_first_gives_up_what_is_idle_then_preempts_the_youngest() -> None:
    scheduler = scheduler_of()
    gone = add(scheduler, 0, 5)[0]
    compute(scheduler, scheduler.schedule())
    scheduler.remove(gone)
    old, young = add(scheduler, 100, 5)[0], add(scheduler, 200, 5)[0]
    compute(scheduler, scheduler.schedule())
    assert old.slot is not None
    assert young.slot is not None
    idle_slot = next(slot.id for slot in scheduler.cache.slots if slot.owner is None)
    young_slot = young.slot
    assert scheduler.make_room() is None
    assert scheduler.running == [old, young]
    assert scheduler.schedule().memory == [Trim(idle_slot, 0)]
    assert scheduler.make_room() is None
    assert scheduler.running == [old]
    assert young.status is SequenceStatus.WAITING
    batch = scheduler.schedule()
    assert batch.memory == [Trim(young_slot, 0)]
    assert [entry.sequence_id for entry in batch.entries] == [old.id], (
        "the preempted one must not come back yet"
    )
    scheduler.remove(old)
    batch = scheduler.schedule()
    assert [(entry.sequence_id, entry.position, len(entry.tokens)) for entry in batch.entries] == [
        (young.id, 0, 6)
    ]


def test_a_preempted_sequence_comes_back_when_one_of_the_others_ends() -> None:
    scheduler = scheduler_of()
    first, second, third = (add(scheduler, start, 5)[0] for start in (100, 200, 300))
    compute(scheduler, scheduler.schedule())
    scheduler.make_room()
    assert scheduler.running == [first, second]
    compute(scheduler, scheduler.schedule())
    scheduler.remove(second)
    scheduler.schedule()
    assert scheduler.running == [first, third]


def test_one_that_is_alone_in_a_full_cache_is_named() -> None:
    scheduler = scheduler_of()
    lonely = add(scheduler, 0, 5)[0]
    compute(scheduler, scheduler.schedule())
    assert scheduler.make_room() is lonely
