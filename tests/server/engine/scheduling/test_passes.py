from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.scheduling.passes import KEPT_STEPS, ROWS_MAX, Passes, Plan, Shape, natural_passes
from server.engine.speculation.step_cost import StepCost
from tests.server.engine.speculation.test_what_pays import PANELS, REPACKED

CHEAP, DEAR = (StepCost(list(costs.items())) for costs in (PANELS, REPACKED))


def steps(*lengths: int) -> Shape:
    """The slots side by side, of which those with 0 tokens are idle."""
    return tuple((slot, n) for slot, n in enumerate(lengths) if n)


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        (steps(1, 1, 1), [3]),
        (steps(8), [8]),
        (steps(8, 8), [16]),
        (steps(8, 4, 1), [3, 6, 4]),
        (steps(8, 1, 4), [3, 7, 3]),
        (steps(1, 0, 1, 1), [1, 2]),
        (steps(0, 2, 0, 0, 2), [2, 2]),
        (steps(), []),
    ],
)
def test_the_passes_that_llama_cpp_makes_by_itself(shape: Shape, rows: list[int]) -> None:
    assert natural_passes(shape) == rows


def test_unlike_drafts_become_one_pass_where_rows_are_cheap() -> None:
    plan = Passes(CHEAP).plan(steps(4, 3, 1))
    assert plan.pads == {1: 1, 2: 3}
    assert plan.rows == (12,)


def test_idle_slots_between_are_filled_where_rows_are_cheap() -> None:
    assert Passes(CHEAP).plan(steps(1, 1, 0, 1, 1)) == Plan((5,), {2: 1}, CHEAP.estimate(5))
    assert Passes(CHEAP).plan(steps(1, *[0] * 14, 1)).pads == {}, "fourteen rows for a pass are too many"
    both = Passes(CHEAP).plan(steps(1, 0, 1, 1, *[0] * 20, 1, 0, 1))
    assert both.pads == {1: 1, 25: 1}
    assert both.rows == (4, 3)


def test_a_long_part_stays_a_pass_of_its_own() -> None:
    plan = Passes(CHEAP).plan(steps(17, 1, 0, 1))
    assert plan.pads == {2: 1}
    assert plan.rows == (4, 16)


def test_where_rows_cost_as_passes_do_there_are_none_for_nobody() -> None:
    plan = Passes(DEAR).plan(steps(8, 1, 1))
    assert (plan.rows, plan.pads) == ((3, 7), {})
    assert Passes(DEAR).plan(steps(1, 1, 0, 1)).pads == {}


def test_nothing_is_planned_that_finds_no_place_or_whose_cost_is_unknown() -> None:
    passes = Passes(CHEAP)
    assert passes.plan(steps(4, 3, 1), lambda slot: 3).pads == {1: 1, 2: 3}
    assert passes.plan(steps(4, 3, 1), lambda slot: 2).pads == {}
    assert Passes(StepCost()).plan(steps(4, 3, 1)) == Plan((3, 4, 1), {}, None)


@given(
    st.dictionaries(st.integers(0, 12), st.integers(1, 12), min_size=1),
    st.sampled_from([CHEAP, DEAR]),
)
def test_a_plan_says_the_passes_that_its_rows_make_and_is_no_slower(
    lengths: dict[int, int], cost: StepCost
) -> None:
    shape = tuple(sorted(lengths.items()))
    plan = Passes(cost).plan(shape)
    padded = dict(shape)
    for slot, n in plan.pads.items():
        assert n > 0
        padded[slot] = padded.get(slot, 0) + n
    assert sorted(natural_passes(tuple(sorted(padded.items())))) == sorted(plan.rows)
    assert plan.seconds is not None
    assert plan.seconds == pytest.approx(sum(cost.estimate(n) or 0.0 for n in plan.rows))
    assert plan.seconds <= sum(cost.estimate(n) or 0.0 for n in natural_passes(shape)) + 1e-9
    if plan.pads:
        assert any(n <= ROWS_MAX for n in plan.rows)


def test_plans_follow_the_costs() -> None:
    cost = StepCost([(n, part) for n, part in REPACKED.items()])
    passes = Passes(cost)
    assert passes.plan(steps(1, 1, 0, 1)).pads == {}
    for _ in range(KEPT_STEPS):
        cost.add(4, 0, 1.2)
    assert passes.plan(steps(1, 1, 0, 1)).pads == {2: 1}


def test_a_step_of_several_passes_shows_the_cost_of_no_size() -> None:
    cost = StepCost(list(PANELS.items()))
    before = cost.estimate(7)
    cost.add(7, 0, 100.0, n_passes=2)
    assert cost.estimate(7) == before
    cost.add(7, 0, 100.0)
    assert cost.estimate(7) != before
