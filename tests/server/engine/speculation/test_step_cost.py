from __future__ import annotations

import pytest

from server.engine.speculation.draft_lengths import best_length
from server.engine.speculation.step_cost import StepCost


def cost_of(*steps: tuple[int, float]) -> StepCost:
    """Measured from (tokens, seconds) of steps without prompts."""
    cost = StepCost()
    for n_tokens, seconds in steps:
        cost.add(n_tokens, 0, seconds)
    return cost


def test_nothing_is_known_at_first_but_what_no_token_costs() -> None:
    cost = StepCost()
    assert cost.estimate(1) is None
    assert cost.estimate(0) == 0.0
    assert cost.prompt_tokens_within(1.0, 0) is None


def test_between_two_sizes_it_is_on_their_line_and_outside_a_low_guess() -> None:
    cost = cost_of((8, 0.030), (4, 0.010))
    assert cost.estimate(4) == pytest.approx(0.010)
    assert cost.estimate(5) == pytest.approx(0.015)
    assert cost.estimate(7) == pytest.approx(0.025)
    assert cost.estimate(1) == pytest.approx(0.0025)
    assert cost.estimate(100) == pytest.approx(0.030)


def test_sizes_may_come_in_any_order() -> None:
    assert cost_of((8, 0.030), (4, 0.010), (6, 0.020)).estimate(7) == pytest.approx(0.025)


def test_beyond_the_largest_a_token_costs_what_one_of_a_prompt_does() -> None:
    cost = cost_of((4, 0.010))
    cost.add(104, 100, 0.060)
    assert cost.estimate(24) == pytest.approx(0.020)


def test_the_first_measurements_weigh_alike_and_one_is_what_was_expected() -> None:
    cost = cost_of((12, 0.030), (4, 0.010), (8, 0.050))
    assert cost.estimate(8) == pytest.approx(0.035), "of a size not seen: 0.020 was expected"
    cost.add(8, 0, 0.011)
    assert cost.estimate(8) == pytest.approx(0.027)


def test_where_nothing_is_expected_the_first_measurement_stands() -> None:
    assert cost_of((4, 0.010), (8, 0.050)).estimate(8) == pytest.approx(0.050)
    assert cost_of((8, 0.050), (4, 0.030)).estimate(4) == pytest.approx(0.030)
    assert cost_of((4, 0.010), (4, 0.016)).estimate(4) == pytest.approx(0.013)


def test_one_disturbed_step_changes_little_and_a_lasting_change_is_learned() -> None:
    cost = cost_of(*[(4, 0.010)] * 20, (4, 1.0))
    assert cost.estimate(4) == pytest.approx(0.012), "as if it had taken twice as long"
    for _ in range(60):
        cost.add(4, 0, 0.020)
    assert cost.estimate(4) == pytest.approx(0.020, rel=0.01)


def test_what_a_change_of_size_takes_is_no_part_of_a_steps_time() -> None:
    """Most steps have drafts of one length; the few without are seldom two in a row."""
    cost = StepCost([(1, 0.0010), (4, 0.0015)])
    for _ in range(100):
        for n_tokens, seconds in ((1, 0.0016), (4, 0.0021), *[(4, 0.0015)] * 10):
            cost.add(n_tokens, 0, seconds)
    assert cost.estimate(4) == pytest.approx(0.0015, rel=0.02)
    assert cost.estimate(1) == pytest.approx(0.0010, rel=0.05)


def test_a_change_of_size_is_a_cost_of_guesses_that_take_time() -> None:
    cost = StepCost([(1, 0.0010), (2, 0.0011), (3, 0.0011), (64, 0.064)])
    for _ in range(40):
        for n_tokens, seconds in ((1, 0.0014), (1, 0.0010), (2, 0.0015), (2, 0.0011)):
            cost.add(n_tokens, 0, seconds)
    assert cost.change_s(2) == 0.0
    assert cost.change_s(3) == pytest.approx(0.0004, rel=0.1)
    assert best_length(1.0, 2, 1, cost, guess_s=0.0007) == 1, "three tokens are another size"
    cost.add(3, 0, 0.0015)
    assert best_length(1.0, 2, 1, cost, guess_s=0.0007) == 2


def test_no_step_is_dearer_than_a_larger_one() -> None:
    """What was disturbed when it was tried would else look too dear to be tried again."""
    cost = StepCost([(1, 0.010), (4, 0.500), (8, 0.014)])
    assert [cost.estimate(n) for n in (1, 4, 8)] == pytest.approx([0.010, 0.014, 0.014])
    for _ in range(60):
        cost.add(4, 0, 0.006)
    assert cost.estimate(1) == pytest.approx(0.006, rel=0.01)
    assert cost.estimate(8) == pytest.approx(0.014)


def test_what_passes_between_steps_makes_drafts_worth_more() -> None:
    cost = StepCost([(1, 0.001), (2, 0.002), (64, 0.064)])
    assert best_length(0.9, 1, 1, cost) == 0
    for seconds in (1.0, *[0.003] * 20, 1.0):
        cost.add_between(seconds)
    assert cost.between_s == pytest.approx(0.0036, rel=0.02), "as if the last had been twice as long"
    assert best_length(0.9, 1, 1, cost) == 1


def test_a_prompt_token_costs_what_the_step_took_beyond_its_neighbours() -> None:
    cost = cost_of((4, 0.010))
    cost.add(4 + 100, 100, 0.060)
    assert cost.prompt_token_s == pytest.approx(0.0005)
    assert cost.estimate(4) == pytest.approx(0.010), "steps with prompts say nothing of those without"


def test_a_prompt_token_never_costs_nothing() -> None:
    cost = cost_of((4, 0.010))
    cost.add(4 + 100, 100, 0.008)
    assert cost.prompt_token_s == pytest.approx(0.1 * 0.008 / 100)


def test_few_prompt_tokens_tell_nothing() -> None:
    cost = StepCost()
    cost.add(20, 15, 0.010)
    assert cost.prompt_token_s is None
    assert cost.estimate(20) is None


def test_the_prompt_tokens_that_fit_a_time() -> None:
    cost = cost_of((4, 0.010))
    cost.add(4 + 100, 100, 0.060)
    assert cost.prompt_tokens_within(0.100, 4) == 180
    assert cost.prompt_tokens_within(0.100, 0) == 200
    assert cost.prompt_tokens_within(0.005, 4) == 0, "the neighbours alone take longer"


def test_a_clock_that_stood_still_teaches_nothing() -> None:
    cost = StepCost()
    cost.add(100, 100, 0.0)
    cost.add(4, 0, 0.0)
    assert cost.prompt_tokens_within(0.1, 0) is None
    assert cost.estimate(4) is None


def test_a_size_that_no_longer_comes_is_forgotten() -> None:
    cost = cost_of((16, 9.0))
    for _ in range(5_000):
        cost.add(4, 0, 0.010)
    assert cost.estimate(16) == pytest.approx(0.010), "an old bad measurement must not rule it out for ever"
    assert cost.estimate(4) == pytest.approx(0.010)


def test_large_steps_are_not_remembered_each() -> None:
    cost = cost_of((4, 0.010), (5_000, 9.0))
    assert cost.estimate(5_000) == pytest.approx(0.010)


def test_what_was_tried_at_the_start_counts_as_one_measurement() -> None:
    cost = StepCost([(1, 0.010), (4, 0.012), (2, 0.011), (32, 0.040)])
    assert [cost.estimate(n) for n in (1, 2, 3, 4)] == pytest.approx([0.010, 0.011, 0.0115, 0.012])
    assert cost.estimate(18) == pytest.approx(0.026)
    assert cost.prompt_token_s == pytest.approx(0.001)
    assert cost.estimate(64) == pytest.approx(0.072)
    cost.add(4, 0, 0.020)
    assert cost.estimate(4) == pytest.approx(0.016)
    cost.add(100, 100, 0.2)
    assert cost.prompt_token_s == pytest.approx(0.0015)


def test_one_size_tried_tells_nothing_of_prompts_and_a_token_never_costs_nothing() -> None:
    assert StepCost([(1, 0.010)]).prompt_token_s is None
    assert StepCost([(1, 0.010), (4, 0.008)]).prompt_token_s == pytest.approx(0.1 * 0.008 / 4)


def test_the_first_prompts_weigh_alike_and_the_later_little() -> None:
    cost = StepCost()
    for seconds in (0.1, 0.3, *[0.2] * 20):
        cost.add(100, 100, seconds)
    assert cost.prompt_token_s == pytest.approx(0.002)
    cost.add(100, 100, 1.2)
    assert cost.prompt_token_s == pytest.approx(0.004)
