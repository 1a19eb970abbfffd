from __future__ import annotations

import random

import pytest

from server.tuning.paired_runner import (
    GAIN_MIN,
    NOISE_MIN,
    ROUNDS_MAX,
    ROUNDS_MIN,
    Noise,
    Verdict,
    judge,
    margin,
    noise_of,
)

QUIET = Noise(0.01, 3)


def test_clearly_slower_is_given_up_after_one_round() -> None:
    assert judge([-0.2], QUIET) is Verdict.NOT_BETTER


def test_faster_must_show_more_than_once() -> None:
    assert judge([0.5], QUIET) is Verdict.UNDECIDED
    assert judge([0.5] * ROUNDS_MIN, QUIET) is Verdict.BETTER


def test_within_the_noise_is_undecided_until_the_rounds_are_used_up() -> None:
    gains = [0.05, -0.02, 0.06, -0.03, 0.05, -0.02]
    noisy = Noise(0.05, 3)
    verdicts = [judge(gains[:n], noisy) for n in range(1, ROUNDS_MAX + 1)]
    assert verdicts[:-1] == [Verdict.UNDECIDED] * (ROUNDS_MAX - 1)
    assert verdicts[-1] is Verdict.NOT_BETTER


def test_too_small_to_bother() -> None:
    assert judge([GAIN_MIN / 3] * 6, Noise(NOISE_MIN, 3)) is Verdict.NOT_BETTER


def test_the_margin_shrinks_with_rounds_and_grows_with_the_spread() -> None:
    assert margin([0.1] * 4, QUIET) < margin([0.1] * 2, QUIET)
    assert margin([0.0, 0.2], QUIET) > margin([0.1, 0.1], QUIET)
    assert margin([0.1] * 3, Noise(0.05, 3)) > margin([0.1] * 3, QUIET)


def test_one_disturbed_round_does_not_make_the_noise() -> None:
    assert noise_of([0.01, -0.012, 0.6]).deviation == pytest.approx(1.48 * 0.012)
    assert noise_of([0.0, 0.0, 0.0]).deviation == NOISE_MIN


def test_equals_are_rarely_called_better() -> None:
    source = random.Random(3)

    def found(true_gain: float) -> bool:
        noise = noise_of([source.gauss(0, 0.02) for _ in range(3)])
        gains: list[float] = []
        while True:
            gains.append(source.gauss(true_gain, 0.02))
            verdict = judge(gains, noise)
            if verdict is not Verdict.UNDECIDED:
                return verdict is Verdict.BETTER

    assert sum(found(0.0) for _ in range(1000)) < 100
    assert sum(found(0.1) for _ in range(1000)) > 950
