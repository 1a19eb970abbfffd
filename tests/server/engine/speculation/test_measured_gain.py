"""What guesses bring by the clock: it ends those that were expected to pay and don't."""

from __future__ import annotations

import random

import pytest

from server.engine.sequence import Sequence
from server.engine.speculation.measured_gain import (
    ENOUGH_STEPS,
    N_GUESSED_STEPS,
    N_STEPS,
    MeasuredGain,
    MeasuredGains,
)
from server.engine.speculation.speculation import Speculation
from server.engine.speculation.step_cost import StepCost
from tests.server.engine.harness import group_of, request


def gain_of(with_s: float, n_tokens: int, without_s: float, n_steps: int = N_STEPS) -> MeasuredGain:
    gain = MeasuredGain()
    for _ in range(n_steps):
        gain.add(with_s, n_tokens, has_guesses=True)
        gain.add(without_s, 1, has_guesses=False)
    return gain


def test_guesses_pay_where_a_token_takes_less() -> None:
    assert gain_of(0.020, 4, 0.006).judge()
    assert gain_of(0.020, 4, 0.0049).judge() is False
    assert gain_of(0.020, 4, 0.006, ENOUGH_STEPS - 1).judge() is None


def test_steps_that_another_program_disturbs_decide_nothing() -> None:
    gain = gain_of(0.020, 4, 0.006)
    for _ in range(3):
        gain.add(1.0, 4, has_guesses=True)
    assert gain.judge()
    gain = gain_of(0.020, 4, 0.004)
    for _ in range(3):
        gain.add(1.0, 1, has_guesses=False)
    assert gain.judge() is False


def test_what_is_tried_anew_is_unknown() -> None:
    gain = gain_of(0.020, 4, 0.004)
    assert gain.judge() is False
    for _ in range(N_STEPS):
        gain.add(0.008, 1, has_guesses=False)
    assert gain.judge() is False, "the machine has become busy since"
    gain.forget_guesses()
    assert gain.judge() is None
    for _ in range(ENOUGH_STEPS):
        gain.add(0.012, 4, has_guesses=True)
    assert gain.judge()


@pytest.mark.parametrize("seed", range(3))
def test_few_right_guesses_by_chance_end_nothing(seed: int) -> None:
    """Steps bring 1 to 4 tokens, 2.5 in the mean, in as long as 2.3 take: some 16 in a row bring fewer."""
    chance = random.Random(seed)
    gain = gain_of(0.023, 3, 0.010, ENOUGH_STEPS)
    for _ in range(400):
        gain.add(0.023, chance.randint(1, 4), has_guesses=True)
        assert gain.judge()
    for _ in range(N_GUESSED_STEPS):
        gain.add(0.030, chance.randint(1, 4), has_guesses=True)
    assert gain.judge() is False


class ManualClock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def generating(first: int = 1) -> Sequence:
    sequence = group_of(request([first, 2, 3], max_tokens=None, ignore_eos=True), 100_000).sequences[0]
    sequence.tokens.append(1)
    sequence.n_computed = len(sequence.tokens) - 1
    return sequence


def test_only_steps_of_the_same_sequences_count() -> None:
    clock = ManualClock()
    gains, one, other = MeasuredGains(clock), generating(1), generating(2)
    for running, after, n_tokens in (
        ([one], [one, other], 1),
        ([one, other], [one], 1),
        ([], [], 1),
        ([one], [one], 0),
        ([one, other], [one, other], 1),
    ):
        gains.end_steps(running)
        gains.begin_steps(running, has_guesses=False)
        clock.now_s += 0.010
        for sequence in running:
            sequence.tokens += [1] * n_tokens
            sequence.n_computed += n_tokens
        gains.end_steps(after)
    assert not gains.of(1)._without
    assert list(gains.of(2)._without) == [pytest.approx(0.005)]


class Parrot:
    """Guesses rightly what comes, the number of the place, with probability `share`."""

    start_s = 0.0

    def __init__(self, share: float, guess_s: float) -> None:
        self.guess_s = guess_s
        self._share = share
        self._chance = random.Random(1)

    def propose(self, wanted: list[tuple[Sequence, int]]) -> list[list[int]]:
        return [
            [len(sequence.tokens) + i if self._chance.random() < self._share else 0 for i in range(n)]
            for sequence, n in wanted
        ]

    def rest(self, n_steps: int) -> None:
        assert n_steps > 0

    def close(self, sequence: Sequence) -> None:
        pass


def tokens_per_second(
    guess_s: float, *, is_measured: bool, share: float = 0.9, n: int = 4000, jitter: float = 0.0
) -> tuple[float, int]:
    """The tokens per second of a stream, and the steps with guesses, each of which really takes 1 ms.

    Steps take 1 ms and a tenth more for each further token; the proposer says that a guess takes `guess_s`.
    With `jitter` guesses take that, and steps vary by so much.
    """
    clock, sequence = ManualClock(), generating()
    speculation = Speculation(Parrot(share, guess_s), draft_max=3, clock_s=clock if is_measured else None)
    cost = StepCost([(1, 0.001), (32, 0.0041)])
    chance = random.Random(2)
    n_guessed = 0
    while len(sequence.tokens) < n:
        speculation.draft([sequence], cost, 512)
        draft = sequence.draft
        step_s = (0.001 + 0.0001 * len(draft)) * chance.lognormvariate(0.0, jitter)
        cost.add(1 + len(draft), 0, step_s)
        clock.now_s += step_s + (guess_s if jitter else 0.001) * len(draft)
        n_guessed += bool(draft)
        at = len(sequence.tokens)
        n_right = next((i for i, token in enumerate(draft) if token != at + i), len(draft))
        sequence.tokens += range(at, at + n_right + 1)
        sequence.n_computed = len(sequence.tokens) - 1
        sequence.draft = []
    return len(sequence.tokens) / clock.now_s, n_guessed


def test_guesses_that_seem_to_pay_and_do_not_are_given_up() -> None:
    """The proposer says that its guesses take a hundredth of what they do."""
    believed, _ = tokens_per_second(0.00001, is_measured=False)
    measured, n_guessed = tokens_per_second(0.00001, is_measured=True)
    assert believed < 900
    assert measured > 970
    assert 0 < n_guessed < 200


def test_random_guesses_cost_next_to_nothing() -> None:
    measured, n_guessed = tokens_per_second(0.0003, is_measured=True, share=0.0)
    assert measured > 985
    assert 0 < n_guessed < 40


def test_good_guesses_that_cannot_pay_are_hardly_made() -> None:
    """Nine in ten are right, and a guess takes as long as a step without: more right ones don't help."""
    measured, n_guessed = tokens_per_second(0.001, is_measured=True)
    assert measured > 980
    assert 0 < n_guessed < 60


def test_guesses_that_pay_a_little_are_kept() -> None:
    """Three guesses bring 1.15 times the tokens of a step without any, which makes 962 a second."""
    measured, _ = tokens_per_second(0.00056, is_measured=True, jitter=0.1)
    assert measured > 1.1 * 962
