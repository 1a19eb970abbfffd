"""The order of the scheduler: priorities, turns of adapter sets, the prompt tokens of a step."""

from __future__ import annotations

import pytest

from server.engine.batch import Adapters, Batch
from server.engine.prefix.prefix_cache import PrefixCache
from server.engine.scheduling import scheduler as scheduler_module
from server.engine.scheduling.adapter_turns import TURN_STEPS
from server.engine.scheduling.prompt_budget import SchedulerConfig
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import CHOICES_PER_TURN, Sequence, SequenceStatus
from server.engine.speculation.step_cost import StepCost
from tests.server.engine.harness import group_of, request

A: Adapters = ((1, 1.0),)
B: Adapters = ((2, 0.5),)
N_VOCAB = 100


def scheduler_of(
    n_slots: int = 3,
    *,
    chunk: int = 10,
    alone: int = 40,
    cost: StepCost | None = None,
    gap_s: float = 0.1,
    multiple: int = 64,
) -> Scheduler:
    config = SchedulerConfig(
        n_batch=512,
        n_vocab=N_VOCAB,
        prefill_chunk_tokens=chunk,
        prefill_tokens_alone=alone,
        gap_s=gap_s,
        chunk_multiple=multiple,
    )
    return Scheduler(PrefixCache(n_slots, can_trim=True, copy_tokens_min=32), config, cost)


def add(
    scheduler: Scheduler,
    length: int = 5,
    *,
    first: int = 0,
    priority: int = 0,
    adapters: Adapters = (),
    score_prompt: bool = False,
    n: int = 1,
) -> Sequence:
    asked = request(
        range(first, first + length), n=n, priority=priority, adapters=adapters, score_prompt=score_prompt
    )
    group = group_of(asked)
    for sequence in group.sequences:
        scheduler.add(sequence)
    return group.sequences[0]


def compute(scheduler: Scheduler, batch: Batch) -> Batch:
    """Do what the engine does after a run."""
    for entry in batch.entries:
        sequence = next(s for s in scheduler.running if s.id == entry.sequence_id)
        sequence.n_computed += len(entry.tokens)
        if sequence.n_computed >= sequence.n_prompt:
            sequence.scores_prompt = False
        if entry.n_outputs:
            sequence.tokens.append(7)
    return batch


def step(scheduler: Scheduler) -> Batch:
    return compute(scheduler, scheduler.schedule())


def ids(batch: Batch) -> list[int]:
    return [entry.sequence_id for entry in batch.entries]


def n_prompt(batch: Batch) -> int:
    """Tokens of entries with more than the next token."""
    return sum(len(entry.tokens) for entry in batch.entries if len(entry.tokens) > 1)


# --- priority --------------------------------------------------------------------------------------------


def test_the_lower_priority_number_goes_first_and_equals_in_their_order() -> None:
    scheduler = scheduler_of(n_slots=1)
    asked = [add(scheduler, first=100 * i, priority=priority) for i, priority in enumerate([0, 5, -1, 0, -1])]
    order = []
    while scheduler.waiting:
        step(scheduler)
        order.append(asked.index(scheduler.running[0]))
        scheduler.remove(scheduler.running[0])
    assert order == [2, 4, 0, 3, 1]


def test_a_request_of_many_choices_takes_turns_with_later_ones() -> None:
    scheduler = scheduler_of(n_slots=2)
    many = add(scheduler, n=50).group.sequences
    step(scheduler)
    singles = [add(scheduler, first=100 * i) for i in (1, 2)]
    begun = list(scheduler.running)
    for _ in range(3 * CHOICES_PER_TURN):
        scheduler.remove(scheduler.running[0])
        step(scheduler)
        begun += [sequence for sequence in scheduler.running if sequence not in begun]
    end = 2 * CHOICES_PER_TURN
    assert begun[: end + 1] == [*many[:end], singles[0]]
    assert begun[end + 1 : end + 2 + CHOICES_PER_TURN] == [*many[end : end + CHOICES_PER_TURN], singles[1]]


def test_of_two_prompts_in_work_the_one_with_priority_goes_on() -> None:
    scheduler = scheduler_of(alone=16)
    late = add(scheduler, 30, priority=1)
    step(scheduler)
    urgent = add(scheduler, 40, first=100, priority=0)
    assert [ids(step(scheduler)) for _ in range(3)] == [[urgent.id], [urgent.id], [late.id, urgent.id]]
    assert (urgent.n_pending, late.n_computed) == (1, 24)


def test_the_one_preempted_is_of_the_lowest_priority_then_the_youngest() -> None:
    scheduler = scheduler_of()
    low_old = add(scheduler, priority=3)
    low_young = add(scheduler, first=100, priority=3)
    high = add(scheduler, first=200, priority=0)
    step(scheduler)
    assert scheduler.make_room() is None
    assert scheduler.running == [high, low_old]
    assert scheduler.make_room() is None
    assert scheduler.running == [high]
    assert scheduler.waiting == [low_old, low_young]
    assert scheduler.make_room() is high


def test_a_preempted_sequence_is_before_those_that_came_after_it() -> None:
    scheduler = scheduler_of(n_slots=2)
    first, second = add(scheduler), add(scheduler, first=100)
    step(scheduler)
    third = add(scheduler, first=200)
    scheduler.make_room()
    assert scheduler.waiting == [second, third]
    scheduler.remove(first)
    step(scheduler)
    assert scheduler.running[0] is second


# --- adapters --------------------------------------------------------------------------------------------


def test_sets_of_adapters_take_turns_and_never_share_a_batch() -> None:
    scheduler = scheduler_of(n_slots=6)
    owners = {add(scheduler, first=100 * i, adapters=s).id: s for i, s in enumerate([(), A, B, A, (), B])}
    turns = []
    for _ in range(6 * TURN_STEPS):
        batch = step(scheduler)
        assert {owners[id_] for id_ in ids(batch)} == {batch.adapters}
        assert len(batch.entries) == 2, "all of a set share its batch"
        turns.append(batch.adapters)
    rounds = [turns[at::TURN_STEPS] for at in range(TURN_STEPS)]
    assert rounds[1:] == rounds[:-1], "each has some steps in a row"
    assert set(rounds[0][:3]) == {(), A, B}
    assert rounds[0][:3] == rounds[0][3:]


def test_a_set_that_is_alone_again_loses_its_turn_to_the_next_that_comes() -> None:
    scheduler = scheduler_of(n_slots=3)
    old = add(scheduler)
    other = add(scheduler, first=100, adapters=A)
    for _ in range(TURN_STEPS):
        step(scheduler)
    scheduler.remove(other)
    for _ in range(5):
        assert ids(step(scheduler)) == [old.id]
    new = add(scheduler, first=200, adapters=B)
    turns = [ids(step(scheduler))[0] for _ in range(2 * TURN_STEPS)]
    assert new.id in turns[: TURN_STEPS + 1]
    assert turns.count(old.id) == turns.count(new.id)


def test_sets_that_come_and_go_starve_nobody() -> None:
    scheduler = scheduler_of(n_slots=4)
    steady = add(scheduler, 5)
    n_steady = 0
    for i in range(30):
        visitor = add(scheduler, 5, first=100, adapters=((i, 1.0),))
        n_steady += ids(step(scheduler)) == [steady.id]
        scheduler.remove(visitor)
    assert n_steady >= 10
    assert dict(scheduler.n_by_adapters) == {(): 1}


def test_a_set_that_comes_again_goes_behind_one_that_waits_already() -> None:
    scheduler = scheduler_of(n_slots=4)
    steady = add(scheduler)
    for adapters in (A, B):  # so A's last turn is long ago
        visitor = add(scheduler, first=100, adapters=adapters)
        for _ in range(3 * TURN_STEPS):
            step(scheduler)
        scheduler.remove(visitor)
    waiting = add(scheduler, first=200, adapters=((3, 1.0),))
    add(scheduler, first=300, adapters=A)
    turns = [id_ for _ in range(2 * TURN_STEPS) for id_ in ids(step(scheduler))]
    assert next(id_ for id_ in turns if id_ != steady.id) == waiting.id


def test_a_set_without_a_slot_gets_the_next_one_that_is_free() -> None:
    scheduler = scheduler_of(n_slots=1)
    running = add(scheduler)
    step(scheduler)
    other = add(scheduler, first=100, adapters=A)
    same = add(scheduler, first=200)
    for _ in range(3):
        assert ids(step(scheduler)) == [running.id]
    scheduler.remove(running)
    assert ids(step(scheduler)) == [other.id], "it came before the one that would fit the running set"
    assert same.status is SequenceStatus.WAITING


def test_one_set_alone_has_no_turns() -> None:
    scheduler = scheduler_of()
    sequence = add(scheduler, adapters=A)
    batches = [step(scheduler) for _ in range(3)]
    assert [ids(batch) for batch in batches] == [[sequence.id]] * 3
    assert {batch.adapters for batch in batches} == {A}


def test_a_prompt_stays_small_while_another_set_generates() -> None:
    scheduler = scheduler_of(chunk=10, alone=40)
    add(scheduler)
    step(scheduler)
    prompt = add(scheduler, 60, first=100, adapters=A)
    chunks = [
        len(batch.entries[0].tokens) for batch in (step(scheduler) for _ in range(8)) if batch.adapters == A
    ]
    assert chunks == [10] * len(chunks)
    assert len(chunks) == 4
    assert prompt.n_computed == 40


# --- how much of prompts ---------------------------------------------------------------------------------


def budget_of(cost: StepCost, *, chunk: int = 256, gap_s: float = 0.1, multiple: int = 64) -> int:
    """Prompt tokens in a step beside one sequence that generates."""
    scheduler = scheduler_of(chunk=chunk, cost=cost, gap_s=gap_s, multiple=multiple)
    add(scheduler, 5)
    step(scheduler)
    add(scheduler, 900, first=100)
    return n_prompt(step(scheduler))


@pytest.mark.parametrize(("came_s", "budget"), [(0.0, 40), (2.0, 10)])
def test_those_who_came_together_begin_together(came_s: float, budget: int) -> None:
    """A prompt that waited when the first token of the other was said goes on as if that one were none."""
    scheduler = scheduler_of(chunk=10, alone=40)
    begun = add(scheduler, 5)
    step(scheduler)
    begun.group.first_token_s = 1.0
    late = add(scheduler, 900, first=100)
    late.group.submitted_s = came_s
    assert n_prompt(step(scheduler)) == budget
    assert n_prompt(step(scheduler)) == 10  # with two tokens it is a stream as any other


def measured(step_s: float, prompt_token_s: float) -> StepCost:
    cost = StepCost()
    cost.add(1, 0, step_s)
    cost.add(101, 100, step_s + 100 * prompt_token_s)
    return cost


def test_unmeasured_it_takes_half_of_the_most() -> None:
    assert budget_of(StepCost()) == 128


def test_prompt_tokens_fill_the_gap_that_streams_may_have_in_multiples_of_64() -> None:
    assert budget_of(measured(0.010, 0.001), gap_s=0.07) == 64
    assert budget_of(measured(0.010, 0.001), gap_s=0.1) == 64
    assert budget_of(measured(0.036, 0.001), gap_s=0.212) == 128


def test_kernels_of_smaller_blocks_have_smaller_chunks() -> None:
    assert budget_of(measured(0.010, 0.001), gap_s=0.07, multiple=32) == 32
    assert budget_of(measured(0.010, 0.001), gap_s=10.0, multiple=32) == 32
    assert budget_of(measured(0.036, 0.001), gap_s=0.212, multiple=32) == 160
    assert budget_of(measured(0.010, 0.1), multiple=32) == 32


def test_streams_of_a_quick_model_wait_less_than_they_may() -> None:
    assert budget_of(measured(0.004, 0.0001), gap_s=10.0) == 192  # of the time of 6 steps, 5 for the prompt
    assert budget_of(measured(0.004, 0.0001), gap_s=0.012) == 64


def test_neither_more_than_the_most_nor_less_than_progress_needs() -> None:
    assert budget_of(measured(0.010, 0.000_01)) == 256
    assert budget_of(measured(0.010, 0.1)) == 64
    assert budget_of(measured(0.010, 0.1), chunk=8) == 8


def test_where_a_step_alone_takes_longer_than_the_gap_it_may_take_twice_that() -> None:
    assert budget_of(measured(0.3, 0.002)) == 128
    assert budget_of(measured(0.3, 0.02)) == 64


def test_many_who_wait_for_their_first_token_may_hold_up_a_few() -> None:
    scheduler = scheduler_of(chunk=512, cost=measured(0.017, 0.001), gap_s=0.1)
    add(scheduler, 5)
    step(scheduler)
    for first in (100, 2000):
        add(scheduler, 900, first=first)
    assert n_prompt(step(scheduler)) == 320, "four cost the gap: two prompts beside one stream"


# --- scored prompts --------------------------------------------------------------------------------------


def test_scored_prompts_are_cut_so_that_a_steps_logits_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "SCORED_FLOATS_MAX", 12 * N_VOCAB)
    scheduler = scheduler_of(alone=40)
    for first in (0, 100):
        add(scheduler, 20, first=first, score_prompt=True)
    add(scheduler, 30, first=200)
    n_steps = 0
    while any(sequence.n_generated == 0 for sequence in (*scheduler.running, *scheduler.waiting)):
        batch = step(scheduler)
        n_scored = sum(len(entry.tokens) for entry in batch.entries if entry.targets is not None)
        assert n_scored <= 12
        n_steps += 1
    assert n_steps < 12


def test_even_one_token_beyond_the_bound_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "SCORED_FLOATS_MAX", N_VOCAB // 2)
    scheduler = scheduler_of()
    add(scheduler, 3, score_prompt=True)
    assert [len(step(scheduler).entries[0].tokens) for _ in range(3)] == [1, 1, 1]


def test_a_scored_prompts_entries_name_the_tokens_that_follow() -> None:
    scheduler = scheduler_of(alone=3)
    sequence = add(scheduler, 5, score_prompt=True)
    first, second = step(scheduler).entries[0], step(scheduler).entries[0]
    assert (first.tokens, first.targets, first.n_outputs) == ([0, 1, 2], [1, 2, 3], 0)
    assert (second.tokens, second.targets, second.n_outputs) == ([3, 4], [4], 1)
    assert sequence.n_generated == 1


def test_the_choices_of_a_scored_prompt_wait_for_the_scores_in_kept_slots() -> None:
    scheduler = scheduler_of(n_slots=2, alone=3)
    scored = add(scheduler, 5, score_prompt=True, n=2)
    stranger = add(scheduler, 5, first=100)
    assert ids(step(scheduler)) == [scored.id]
    assert ids(step(scheduler)) == [scored.id]
    assert not scored.scores_prompt
    sibling = scored.group.sequences[1]
    assert ids(step(scheduler)) == [scored.id, sibling.id]
    assert stranger.status is SequenceStatus.WAITING
