"""The time in which work for strangers is as quick as any other."""

from __future__ import annotations

import pytest

from models.machine.allowance import BURST_S, SHARE, Allowance


def test_a_flood_empties_it_and_time_fills_it() -> None:
    now_s = 100.0
    allowance = Allowance(lambda: now_s)
    assert allowance.offer() == BURST_S / 2
    allowance.spend(BURST_S / 2)
    assert allowance.offer() == pytest.approx(BURST_S / 4)
    for _ in range(20):
        allowance.spend(allowance.offer())
    assert allowance.offer() < 1e-6
    allowance.spend(1.0)
    now_s += 10
    assert allowance.offer() == pytest.approx(10 * SHARE / 2)
    now_s += 1e6
    assert allowance.offer() == BURST_S / 2
