"""Answers that go on where the context is full, without their older half."""

from __future__ import annotations

import pytest

from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Speculation
from tests.server.engine.harness import Harness, expected_tokens, request
from tests.server.engine.scripted_runner import ScriptedRunner

N_CTX = 64


def harness(n_slots: int = 1) -> Harness:
    return Harness(ScriptedRunner(n_slots=n_slots, n_ctx=N_CTX))


def test_a_full_context_ends_an_answer_that_does_not_slide() -> None:
    engine = harness()
    asked = request(range(10), max_tokens=500, ignore_eos=True)
    engine.run([asked])
    outcome = engine.outcomes[asked.id]
    assert outcome.ends[0].finish_reason == "length"
    assert outcome.finish.usage.completion_tokens == N_CTX - 10
    assert outcome.finish.timings.context_shifts == 0


@pytest.mark.parametrize("n_keep", [0, 1, 10])
@pytest.mark.parametrize("limit", [54, 55, 200, 500])
def test_an_answer_goes_on_as_if_its_older_half_had_not_been(n_keep: int, limit: int) -> None:
    engine = harness()
    asked = request(range(10), max_tokens=limit, ignore_eos=True, n_keep=n_keep, return_tokens=True)
    engine.run([asked])
    outcome = engine.outcomes[asked.id]
    assert list(outcome.tokens[0]) == expected_tokens(asked, N_CTX)
    assert outcome.finish.usage.completion_tokens == limit
    assert outcome.ends[0].finish_reason == "length"
    assert (outcome.finish.timings.context_shifts > 0) == (limit > N_CTX - 10)


def test_what_was_given_up_is_no_prefix_of_others() -> None:
    """The next turn repeats all of the answer: only what the cache really has of it isn't computed again."""
    engine = harness(n_slots=2)
    first = request(range(10), max_tokens=100, ignore_eos=True, n_keep=10, return_tokens=True)
    engine.run([first])
    said = list(engine.outcomes[first.id].tokens[0])
    again = request([*range(10), *said[:40]], max_tokens=5, return_tokens=True)
    engine.run([again])
    assert (
        list(engine.outcomes[again.id].tokens[0])
        == [token for token in expected_tokens(again, N_CTX) if token < 100][
            : len(engine.outcomes[again.id].tokens[0])
        ]
    )
    engine.engine.check_integrity()


def test_the_kept_beginning_is_not_computed_again() -> None:
    engine = harness()
    asked = request([*range(16)] * 2, max_tokens=40, ignore_eos=True, n_keep=32)
    engine.run([asked])
    timings = engine.outcomes[asked.id].finish.timings
    assert timings.context_shifts == 1
    assert timings.prompt_n == 32
    again = (N_CTX - 32) - (N_CTX - 32) // 2
    assert engine.runner.n_computed == 32 + 39 + again - 1


def test_choices_slide_apart_and_with_drafts() -> None:
    speculation = Speculation(NgramProposer((2, 1)))
    engine = Harness(ScriptedRunner(n_slots=3, n_ctx=N_CTX), speculation=speculation)
    asked = request(
        [1, 2] * 5,
        n=4,
        temperature=1.0,
        seed=7,
        max_tokens=150,
        n_keep=2,
        ignore_eos=True,
        return_tokens=True,
    )
    engine.run([asked])
    outcome = engine.outcomes[asked.id]
    for index in range(4):
        assert list(outcome.tokens[index]) == expected_tokens(asked, N_CTX, index)
    assert outcome.finish.timings.context_shifts >= 4


def test_a_prompt_that_is_all_kept_ends_at_the_context() -> None:
    engine = harness()
    asked = request([5] * (N_CTX - 1), max_tokens=10, ignore_eos=True, n_keep=N_CTX - 1)
    engine.run([asked])
    assert engine.outcomes[asked.id].finish.usage.completion_tokens == 1
