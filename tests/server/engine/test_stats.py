from __future__ import annotations

import pytest

from server.engine.stats import EngineStats, ServiceTime


def test_a_steps_time_is_shared_by_its_tokens() -> None:
    stats = EngineStats()
    stats.add_step(n_prompt_tokens=30, n_tokens=40, n_outputs=11, seconds=0.4)
    stats.add_step(n_prompt_tokens=0, n_tokens=10, n_outputs=10, seconds=0.1)
    assert (stats.steps_total, stats.prompt_tokens_total, stats.generated_tokens_total) == (2, 30, 21)
    assert stats.prompt_s_total == pytest.approx(0.3)
    assert stats.generated_s_total == pytest.approx(0.2)


def test_the_service_time_is_a_moving_average() -> None:
    time = ServiceTime()
    time.add(2.0)
    assert time.mean_s == 2.0
    time.add(7.0)
    assert time.mean_s == pytest.approx(3.0)


def test_half_of_those_who_wait_are_served_before_a_retry() -> None:
    time = ServiceTime(mean_s=4.0)
    assert time.retry_after_s(n_waiting=8, n_slots=2) == 8.0
    assert time.retry_after_s(n_waiting=1, n_slots=8) == 1.0, "at least a second"
    assert ServiceTime().retry_after_s(n_waiting=8, n_slots=2) == 2.0
