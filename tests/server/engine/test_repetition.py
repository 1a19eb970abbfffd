from __future__ import annotations

import random

import pytest

from server.engine.engine import EngineConfig
from server.engine.repetition import LOOK_TOKENS, TIMES_MIN, repeats
from tests.server.engine.harness import Harness, Outcome, request


def by_definition(tokens: list[int]) -> bool:
    """The same, as its words say it."""
    n = len(tokens)
    return any(
        all(tokens[i] == tokens[i - period] for i in range(period, n))
        for period in range(1, n // TIMES_MIN + 1)
    )


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], False),
        ([7] * 7, False),
        ([7] * 8, True),
        ([1, 2, 3] * 8, True),
        ([1, 2, 3] * 8 + [1, 2], True),
        ([1, 2, 3] * 7 + [1, 2], False),
        ([1, 2, 3] * 8 + [4], False),
        ([9] + [1, 2, 3] * 20, False),
        ([1, 1, 2] * 8, True),
        (list(range(32)) * 8, True),
        (list(range(33)) * 7, False),
    ],
)
def test_a_passage_again_and_again(tokens: list[int], expected: bool) -> None:
    assert repeats(tokens) is expected


def test_as_the_words_say_it() -> None:
    chance = random.Random(5)
    found = 0
    for _ in range(2000):
        passage = [chance.randrange(2) for _ in range(chance.randint(1, 4))]
        tokens = (passage * 40)[: chance.randint(1, 40)]
        if chance.random() < 0.3:
            tokens[chance.randrange(len(tokens))] ^= 1
        assert repeats(tokens) is by_definition(tokens)
        found += repeats(tokens)
    assert 200 < found < 1800


def answered(loop_tokens: int, tokens: list[int], max_tokens: int = 120) -> Outcome:
    """The answer that has these tokens, under that guard."""
    harness = Harness(config=EngineConfig(loop_tokens=loop_tokens))
    name = harness.submit(request(max_tokens=max_tokens, ignore_eos=True))
    harness.step()
    [sequence_id] = harness.runner.samplers
    harness.runner.force(sequence_id, tokens)
    harness.run()
    return harness.outcomes[name]


def test_an_answer_that_repeats_itself_ends() -> None:
    """It is looked at now and then, and once it is long enough."""
    looping = answered(64, [1, 2, 3] * 100)
    end = looping.ends[0]
    assert (end.finish_reason, end.is_loop) == ("length", True)
    assert 64 <= looping.finish.usage.completion_tokens <= 64 + LOOK_TOKENS


@pytest.mark.parametrize(
    ("loop_tokens", "tokens"),
    [
        (0, [1, 2, 3] * 100),  # nobody asked for it
        (64, [1, 2, 3, 4, 5, 6, 7, 0, 8] * 20),  # seven times in 64 tokens
        (64, ([1] * 40 + [2]) * 10),
        (128, [1, 2, 3] * 100),  # it ends before
    ],
)
def test_others_go_on(loop_tokens: int, tokens: list[int]) -> None:
    outcome = answered(loop_tokens, tokens)
    end = outcome.ends[0]
    assert (end.finish_reason, end.is_loop) == ("length", False)
    assert outcome.finish.usage.completion_tokens == 120
