from __future__ import annotations

import itertools

import pytest

from server.engine.events import Timings, Usage
from server.engine.sequence import CHOICES_PER_TURN, Group, SequenceStatus, rank
from tests.server.engine.harness import request


def test_a_choice_has_the_next_id_and_its_index() -> None:
    ids = itertools.count(5)
    first = Group(request([1], n=2), 100, 0.0, ids)
    second = Group(request([2]), 100, 0.0, ids)
    assert [(s.id, s.index) for s in (*first.sequences, *second.sequences)] == [(5, 0), (6, 1), (7, 0)]


def test_the_lower_priority_number_ranks_first_then_the_lower_id() -> None:
    ids = itertools.count()
    late, early, urgent = (
        Group(request([1], priority=priority), 100, 0.0, ids).sequences[0] for priority in (1, 0, -1)
    )
    later = Group(request([1], priority=0), 100, 0.0, ids).sequences[0]
    assert sorted([late, later, early, urgent], key=rank) == [urgent, early, later, late]


def test_many_choices_take_turns_with_the_requests_that_come_later() -> None:
    ids = itertools.count()
    many = Group(request([1], n=4 * CHOICES_PER_TURN), 100, 0.0, ids, n_before=0).sequences
    turns = [many[at : at + CHOICES_PER_TURN] for at in range(0, len(many), CHOICES_PER_TURN)]
    singles = [Group(request([2]), 100, 0.0, ids, n_before=n).sequences[0] for n in (1, 2)]
    queue = sorted([*many, *singles], key=rank)
    assert queue == [*turns[0], *turns[1], singles[0], *turns[2], singles[1], *turns[3]]


@pytest.mark.parametrize(("max_tokens", "most"), [(None, 100), (5, 8), (500, 100)])
def test_a_sequence_ends_at_max_tokens_or_the_contexts_end(max_tokens: int | None, most: int) -> None:
    [sequence] = Group(request([1, 2, 3], max_tokens=max_tokens), 100, 0.0, itertools.count()).sequences
    assert sequence.n_tokens_max == most


def test_a_summary_counts_all_choices_and_times_them_from_the_clock() -> None:
    group = Group(request([1, 2, 3], n=2), 100, 10.0, itertools.count())
    group.admitted_s, group.first_token_s = 10.5, 11.0
    group.n_cached, group.n_computed_prompt = 2, 4
    for n_generated, sequence in enumerate(group.sequences, start=1):
        sequence.tokens += [9] * n_generated
        assert not group.is_finished
        sequence.status = SequenceStatus.FINISHED
    assert group.is_finished
    summary = group.summary(13.0)
    assert summary.usage == Usage(prompt_tokens=3, completion_tokens=3, cached_tokens=2)
    assert summary.timings == Timings(
        queue_ms=500.0, prompt_n=4, prompt_ms=500.0, predicted_n=3, predicted_ms=2000.0
    )
