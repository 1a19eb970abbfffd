from __future__ import annotations

import math

import pytest

from server.tuning.messages import Figures
from server.tuning.plan import STEPS_MIN, make_plan
from server.tuning.workload import GAIN_MAX, Load, Workload, gain, percent


def test_weights_add_up() -> None:
    loads = Workload(streams=(1, 4, 8), contention=0.4).loads
    assert sum(load.weight for load in loads) == pytest.approx(1.0)
    assert sum(load.weight for load in loads if load.busy) == pytest.approx(0.4)


def test_what_has_no_weight_is_not_measured() -> None:
    assert not any(load.busy for load in Workload(contention=0.0).loads)
    assert all(load.busy for load in Workload(contention=1.0).loads)


def test_gains() -> None:
    one, other = Workload(contention=0.0).loads
    assert gain({one: 2.0, other: 2.0}, {one: 1.0, other: 1.0}) == pytest.approx(math.log(2))
    assert gain({one: 2.0, other: 1.0}, {one: 1.0, other: 2.0}) == pytest.approx(0.0)
    assert gain({one: 1000.0, other: 1.0}, {one: 1.0, other: 1.0}) == pytest.approx(GAIN_MAX / 2)
    assert percent(math.log(1.25)) == pytest.approx(25.0)


def test_a_plan_fits_the_models_speed_and_stays_within_the_workload() -> None:
    workload = Workload(prompt_tokens=64, output_tokens=96, streams=(1, 8))
    slow = Figures(prefill_s=16.0, prefill_tokens=16, step_s=1.0, steps=3)
    fast = Figures(prefill_s=1e-4, prefill_tokens=16, step_s=1e-4, steps=3)
    for figures in (slow, fast):
        plan = make_plan(workload, {1: figures, 8: figures})
        for load in workload.loads:
            request = plan.request(load)
            assert request.streams == load.streams
            assert 1 <= request.prompt_tokens <= 64
            assert STEPS_MIN <= request.steps <= 96
    assert make_plan(workload, {1: fast}).requests[1].repeats > 1
    assert make_plan(workload, {1: slow}).requests[1].repeats == 1


def test_seconds_are_those_of_the_whole_load() -> None:
    workload = Workload(prompt_tokens=100, output_tokens=10)
    plan = make_plan(workload, {2: Figures(prefill_s=1.0, prefill_tokens=20, step_s=0.1, steps=3)})
    found = plan.seconds(Load(2, False, 1.0), Figures(prefill_s=1.0, prefill_tokens=50, step_s=0.5, steps=4))
    assert found == pytest.approx(200 / 50 + 10 * 0.5)
    assert workload.tokens_per_second(Load(2, False, 1.0), found) == pytest.approx(20 / 9)
