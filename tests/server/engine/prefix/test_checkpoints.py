"""Where states are kept, which is used, and which goes when they are too many."""

from __future__ import annotations

import random

import pytest

from server.engine.batch import Checkpoint, Copy, Trim
from server.engine.engine import EngineConfig
from server.engine.prefix.checkpoints import Checkpoints
from tests.server.engine.harness import Harness, expected_tokens, request
from tests.server.engine.scripted_runner import EOG, ScriptedRunner


def at(n_tokens: int, n_bytes: int = 10, *, is_border: bool = False) -> Checkpoint:
    return Checkpoint(n_tokens, memoryview(bytes(n_bytes)), is_border)


def places(checkpoints: Checkpoints, slot: int = 0) -> list[int]:
    return [one.n_tokens for one in checkpoints.of(slot)]


def test_chunks_end_at_borders_and_each_spacing() -> None:
    checkpoints = Checkpoints(1, 100, 1000)
    assert checkpoints.chunk_end(0, 0, ()) == 100
    assert checkpoints.chunk_end(0, 0, (40, 90)) == 40
    assert checkpoints.chunk_end(0, 40, (40, 90)) == 90
    checkpoints.add(0, at(90))
    assert checkpoints.chunk_end(0, 90, (40, 90, 400)) == 190
    assert checkpoints.chunk_end(0, 250, ()) == 350, "it is late, and goes on from where it is"


def test_a_state_is_due_at_borders_and_each_spacing() -> None:
    checkpoints = Checkpoints(1, 100, 1000)
    assert not checkpoints.is_due(0, 15, (15,)), "so few are soon computed again"
    assert checkpoints.is_due(0, 16, (16,))
    assert not checkpoints.is_due(0, 99, (16,))
    assert checkpoints.is_due(0, 100, ())
    checkpoints.add(0, at(100))
    assert not checkpoints.is_due(0, 100, (100,)), "it is there"
    assert not checkpoints.is_due(0, 199, ())
    checkpoints.skip(0, 199)
    assert not checkpoints.is_due(0, 200, ())
    assert checkpoints.is_due(0, 299, ())


def test_the_last_at_or_before_a_prefix() -> None:
    checkpoints = Checkpoints(1, 100, 1000)
    for n_tokens in (50, 150, 250):
        checkpoints.add(0, at(n_tokens))
    found = [checkpoints.latest(0, n_tokens) for n_tokens in (49, 50, 249, 1000)]
    assert [one and one.n_tokens for one in found] == [None, 50, 150, 250]


def test_slots_share_states_and_each_counts_once() -> None:
    checkpoints = Checkpoints(2, 100, 1000)
    for n_tokens in (50, 150, 250):
        checkpoints.add(0, at(n_tokens))
    checkpoints.begin(1, checkpoints.of(0), 200)
    assert (places(checkpoints), places(checkpoints, 1)) == ([50, 150, 250], [50, 150])
    assert (len(checkpoints), checkpoints.n_bytes) == (3, 30)
    checkpoints.end(0, 60)
    assert (len(checkpoints), checkpoints.n_bytes) == (2, 20)
    checkpoints.end(1, 0)
    checkpoints.begin(0, checkpoints.of(0), 60)
    assert (places(checkpoints), checkpoints.n_bytes) == ([50], 10)


def test_what_spares_least_goes_first_and_never_the_newest() -> None:
    checkpoints = Checkpoints(1, 100, 30)
    checkpoints.add(0, at(100))
    checkpoints.add(0, at(130, is_border=True))
    checkpoints.add(0, at(230))
    checkpoints.add(0, at(240))
    assert places(checkpoints) == [130, 230, 240], "30 tokens before a border are worth more than a hundred"
    checkpoints.add(0, at(340, 30))
    assert places(checkpoints) == [340]
    checkpoints.add(0, at(440, 31))
    assert places(checkpoints) == [340], "too large for all there is"


def test_slots_used_long_ago_lose_theirs_first() -> None:
    checkpoints = Checkpoints(3, 100, 30)
    for slot in (2, 0, 1):
        checkpoints.add(slot, at(100))
    checkpoints.add(1, at(200))
    assert [places(checkpoints, slot) for slot in range(3)] == [[100], [100, 200], []]


@pytest.mark.parametrize("seed", range(20))
def test_the_books_agree_whatever_is_done(seed: int) -> None:
    chance = random.Random(seed)
    checkpoints = Checkpoints(4, 50, 200)
    for _ in range(300):
        slot, other = chance.sample(range(4), 2)
        last = places(checkpoints, slot)[-1:] or [0]
        action = chance.random()
        if action < 0.6:
            checkpoints.add(
                slot,
                at(last[0] + chance.randint(1, 90), chance.randint(1, 60), is_border=chance.random() < 0.3),
            )
        elif action < 0.8:
            checkpoints.begin(slot, checkpoints.of(other), chance.randint(0, 500))
        else:
            checkpoints.end(slot, chance.choice([0, 100, 300]))
        held = {one for each in range(4) for one in checkpoints.of(each)}
        assert checkpoints.n_bytes == sum(one.n_bytes for one in held) <= 200
        assert len(checkpoints) == len(held)
        assert all(places(checkpoints, each) == sorted(set(places(checkpoints, each))) for each in range(4))


# --- in an engine -------------------------------------------------------------------------------------------


def harness(n_slots: int = 2, **config: int) -> Harness:
    runner = ScriptedRunner(n_slots=n_slots, n_ctx=1000, can_trim=False, can_rewind=True)
    settings = {"checkpoint_tokens": 50, "checkpoint_bytes": 100_000, **config}
    return Harness(runner, EngineConfig(copy_tokens_min=8, **settings))


def words(seed: int, n: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(EOG) for _ in range(n)]


def test_the_next_turn_goes_back_to_the_end_of_the_last_one() -> None:
    made = harness(n_slots=1)
    prompt = words(1, 120)
    first = request(prompt, max_tokens=30, ignore_eos=True, borders=(110,))
    following = [*prompt[:112], *words(2, 20)]
    second = request(following, max_tokens=5, ignore_eos=True, return_tokens=True, borders=(125,))
    made.run([first])
    made.run([second])
    outcome = made.outcomes[second.id]
    assert outcome.finish.usage.cached_tokens == 110
    assert list(outcome.tokens[0]) == expected_tokens(second, 1000)
    trims = [one for batch in made.runner.batches for one in batch.memory if isinstance(one, Trim)]
    assert [trim.n_keep for trim in trims] == [110]
    assert made.engine.stats.rewinds_total == 1


def test_without_memory_for_states_the_next_turn_is_computed_whole() -> None:
    made = harness(checkpoint_bytes=0)
    prompt = words(1, 120)
    made.run([request(prompt, max_tokens=30, ignore_eos=True, borders=(110,))])
    second = request([*prompt[:112], *words(2, 20)], max_tokens=5, borders=(125,))
    made.run([second])
    assert made.outcomes[second.id].finish.usage.cached_tokens == 0
    assert made.runner.n_checkpoints == 0


def test_choices_wait_for_the_border_of_their_prompt() -> None:
    made = harness(n_slots=3)
    prompt = words(3, 200)
    many = request(prompt, n=3, max_tokens=6, ignore_eos=True, return_tokens=True, borders=(190,))
    made.run([many])
    copies = [one for batch in made.runner.batches for one in batch.memory if isinstance(one, Copy)]
    assert [copy.n_tokens for copy in copies] == [190, 190]
    outcome = made.outcomes[many.id]
    assert [list(outcome.tokens[i]) for i in range(3)] == [expected_tokens(many, 1000, i) for i in range(3)]
    assert outcome.finish.timings.prompt_n == 200 + 10 + 10


def test_a_long_answer_has_states_too() -> None:
    made = harness()
    made.run([request(words(4, 20), max_tokens=170, ignore_eos=True)])
    slot = next(slot for slot in made.engine._cache.slots if slot.n_held)
    assert made.engine._cache.checkpoints is not None
    assert places(made.engine._cache.checkpoints, slot.id) == [50, 100, 150]
