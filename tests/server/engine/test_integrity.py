"""The check finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.engine.engine import Engine, EngineConfig
from server.engine.sequence import Sequence
from tests.server.engine.harness import Harness, request
from tests.server.engine.scripted_runner import ScriptedRunner


def busy_engine() -> Engine:
    """Two sequences that generate, a prompt half scored with its choice behind it, two that wait."""
    harness = Harness(ScriptedRunner(n_slots=4), EngineConfig(prefill_tokens_alone=4, prefill_chunk_tokens=4))
    for first in range(2):
        harness.submit(request([first], max_tokens=50, ignore_eos=True, adapters=((first, 1.0),)))
    for _ in range(4):
        harness.step()
    harness.submit(request(range(20), n=2, score_prompt=True, adapters=((1, 1.0),), max_tokens=50))
    for _ in range(4):
        harness.step()
    harness.submit(request(range(9), n=2, max_tokens=50))
    assert len(harness.engine._scheduler.running) == 3
    assert harness.engine._scheduler.running[-1].scores_prompt
    assert harness.engine.n_waiting == 3
    return harness.engine


def swap_slots(engine: Engine) -> None:
    a, b = engine._scheduler.running[:2]
    a.slot, b.slot = b.slot, a.slot


def run_twice(engine: Engine) -> None:
    engine._scheduler.running.append(engine._scheduler.running[0])


def lose(engine: Engine) -> None:
    engine._scheduler.waiting.pop()


def disorder(engine: Engine) -> None:
    engine._scheduler.waiting.reverse()


def miscount_adapters(engine: Engine) -> None:
    engine._scheduler._n_by_adapters[((1, 1.0),)] += 1


def forget_adapters_of_a_slot(engine: Engine) -> None:
    for slot in engine._cache.slots:
        slot.adapters = ()


def keep_leftovers(engine: Engine) -> None:
    for slot in engine._cache.slots:
        slot.resident = [1]


def compute_too_much(engine: Engine) -> None:
    engine._scheduler.running[0].n_computed += 1


def draft_in_a_prompt(engine: Engine) -> None:
    engine._scheduler.running[-1].draft = [1]


def draft_too_long(engine: Engine) -> None:
    engine._scheduler.running[0].draft = [1] * 60


def draft_in_the_queue(engine: Engine) -> None:
    engine._scheduler.waiting[0].draft = [1]


def run_beyond_the_end(engine: Engine) -> None:
    sequence = engine._scheduler.running[0]
    sequence.n_tokens_max = len(sequence.tokens)


def lose_scores(engine: Engine) -> None:
    engine._scheduler.running[-1].group.scores.pop()


def finish_silently(engine: Engine) -> None:
    group = engine._scheduler.waiting[-1].group
    for sequence in group.sequences:
        engine._requests._close(sequence)


def forget_a_request(engine: Engine) -> None:
    engine._requests.groups.popitem()


def miscount_deadlines(engine: Engine) -> None:
    engine._requests.n_with_deadline += 1


def admit_in_silence(engine: Engine) -> None:
    engine._scheduler.admitted.append(engine._scheduler.running[0])


DAMAGES: list[Callable[[Engine], None]] = [
    swap_slots,
    run_twice,
    lose,
    disorder,
    miscount_adapters,
    forget_adapters_of_a_slot,
    keep_leftovers,
    compute_too_much,
    draft_in_a_prompt,
    draft_too_long,
    draft_in_the_queue,
    run_beyond_the_end,
    lose_scores,
    finish_silently,
    forget_a_request,
    miscount_deadlines,
    admit_in_silence,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_books_are_noticed(damage: Callable[[Engine], None]) -> None:
    engine = busy_engine()
    engine.check_integrity()
    damage(engine)
    with pytest.raises(AssertionError):
        engine.check_integrity()


def test_a_choice_may_not_run_before_its_prompt_is_scored() -> None:
    engine = busy_engine()
    scored = engine._scheduler.running[-1]
    sibling: Sequence = scored.group.sequences[1]
    placement = engine._cache.place(sibling)
    assert placement is not None
    engine._scheduler.waiting.remove(sibling)
    engine._scheduler._enter(sibling, placement)
    with pytest.raises(AssertionError, match="before its prompt is scored"):
        engine.check_integrity()
