from __future__ import annotations

from server.supervisor.policy import Policy


def test_delays_double_up_to_the_cap() -> None:
    policy = Policy(first_restart_delay_s=0.0, restart_delay_s=1.0, max_restart_delay_s=6.0)
    assert [policy.delay_s(n) for n in range(1, 7)] == [0.0, 1.0, 2.0, 4.0, 6.0, 6.0]


def test_a_long_row_of_deaths_does_not_overflow() -> None:
    assert Policy().delay_s(10_000) == Policy().max_restart_delay_s
