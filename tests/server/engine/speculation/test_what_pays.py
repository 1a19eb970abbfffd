"""Guesses from a request's own text against the clock: the time of answers, by measured costs of steps.

No model and no engine: a text is said token by token, each step takes the seconds of its rows, and rows that
guessed rightly are steps saved.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from server.engine.sequence import Sequence
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Speculation
from server.engine.speculation.step_cost import StepCost
from tests.server.engine.harness import group_of, request

PANELS = {1: 1.0, 2: 1.05, 3: 1.11, 4: 1.23, 6: 1.35, 8: 1.7, 12: 2.18, 16: 2.72, 24: 4.4, 32: 5.8}
"""A step's cost by its rows, over that of one row: Corral's kernels in AVX2, 134 M Q5_K_M."""
REPACKED = {1: 1.0, 2: 1.6, 3: 2.13, 4: 2.6, 6: 3.3, 8: 4.7, 12: 4.8, 16: 5.4, 24: 8.2, 32: 8.8}
"""The same of llama.cpp's."""
COSTS = pytest.mark.parametrize("costs", [PANELS, REPACKED], ids=["panels", "repacked"])
STEP_S = 0.012
NOISE = 0.05
"""Steps of a size differ by this share, one standard deviation."""


def clock_of(costs: dict[int, float], seed: int) -> tuple[StepCost, Callable[[int], float]]:
    """What is measured at the start, and the seconds of a step by its rows."""
    line = StepCost(list(costs.items()))
    chance = random.Random(seed)

    def seconds(n_rows: int) -> float:
        cost = line.estimate(n_rows)
        assert cost is not None
        return cost * STEP_S * max(0.8, chance.gauss(1.0, NOISE))

    return StepCost([(n, seconds(n)) for n in (1, 2, 4, 8, 16, 32)]), seconds


def answer_s(
    prompt: list[int], text: list[int], costs: dict[int, float], seed: int = 0
) -> tuple[float, float]:
    """The seconds of saying `text` after `prompt`: with guesses, and as many steps without."""
    sequence = group_of(request(prompt, max_tokens=None, ignore_eos=True), 100_000).sequences[0]
    speculation, (step_cost, seconds) = Speculation(NgramProposer()), clock_of(costs, seed)
    sequence.tokens.append(text[0])
    with_s = without_s = 0.0
    at = 1
    while at < len(text):
        sequence.n_computed = len(sequence.tokens) - 1
        n_right, step_s = step(sequence, speculation, step_cost, text[at:], seconds)
        sequence.tokens += text[at : at + 1 + n_right]
        at += 1 + n_right
        with_s += step_s
    for _ in range(len(text) - 1):
        without_s += seconds(1)
    return with_s, without_s


def step(
    sequence: Sequence,
    speculation: Speculation,
    step_cost: StepCost,
    rest: list[int],
    seconds: Callable[[int], float],
) -> tuple[int, float]:
    """One step before `rest` is said: the guesses that were right, and the seconds."""
    speculation.draft([sequence], step_cost, 512)
    draft, n_right = sequence.draft, 0
    while n_right < min(len(draft), len(rest) - 1) and draft[n_right] == rest[n_right]:
        n_right += 1
    step_s = seconds(1 + len(draft))
    step_cost.add(1 + len(draft), 0, step_s)
    return n_right, step_s


def words(chance: random.Random, n: int, n_vocab: int = 4000) -> list[int]:
    """Tokens as often as words are: the second half as often as the first, and so on."""
    return [int(n_vocab ** chance.random()) for _ in range(n)]


def edited(chance: random.Random, text: list[int], one_in: int) -> list[int]:
    """The text with one token in `one_in` replaced."""
    return [9_999 if chance.randrange(one_in) == 0 else token for token in text]


@COSTS
@pytest.mark.parametrize("n_vocab", [200_000, 4000, 50])
def test_text_that_repeats_nothing_loses_two_percent_at_most(costs: dict[int, float], n_vocab: int) -> None:
    """Also where runs of three come again by chance, in a tenth of the places and in nearly all."""
    ratios = []
    for seed in range(5):
        chance = random.Random(seed)
        prompt, text = words(chance, 300, n_vocab), words(chance, 400, n_vocab)
        with_s, without_s = answer_s(prompt, text, costs, seed)
        ratios.append(with_s / without_s)
    assert sorted(ratios)[2] < 1.02


@pytest.mark.parametrize(("costs", "gain"), [(PANELS, 2.7), (REPACKED, 1.5)], ids=["panels", "repacked"])
def test_a_text_written_again_with_one_token_in_twelve_changed(costs: dict[int, float], gain: float) -> None:
    chance = random.Random(1)
    prompt = words(chance, 300)
    with_s, without_s = answer_s(prompt, edited(chance, prompt, 12), costs)
    assert without_s / with_s > gain


@COSTS
def test_a_quotation_is_noticed_after_long_text_that_repeats_nothing(costs: dict[int, float]) -> None:
    """Its last 60 of 80 tokens go at the speed of a copy, for all that guesses before it were wrong."""
    chance = random.Random(2)
    prompt = words(chance, 300, 50)
    before = words(chance, 300, 50)
    alone_s = answer_s(prompt, before, costs)[0]
    with_s, without_s = answer_s(prompt, [*before, *prompt[100:180]], costs)
    quoted_s, each_s = with_s - alone_s, without_s / (len(before) + 80)
    assert quoted_s < 0.75 * 80 * each_s


@COSTS
def test_a_text_that_ends_to_repeat_itself_loses_its_drafts_in_a_handful_of_steps(
    costs: dict[int, float],
) -> None:
    chance = random.Random(3)
    sequence = group_of(request(words(chance, 50, 3), max_tokens=None, ignore_eos=True), 10_000).sequences[0]
    speculation, (step_cost, seconds) = Speculation(NgramProposer()), clock_of(costs, 0)
    sequence.tokens += [7, 8, 9] * 30
    said = [7, 8, 9] * 20
    lengths = []
    while said:
        sequence.n_computed = len(sequence.tokens) - 1
        n_right, _ = step(sequence, speculation, step_cost, said, seconds)
        lengths.append(len(sequence.draft))
        sequence.tokens += said[: 1 + n_right]
        del said[: 1 + n_right]
    assert max(lengths) >= 7
    n_drafted = []
    for _ in range(40):
        wrong = [7, 8, 9][chance.randrange(3)]
        sequence.n_computed = len(sequence.tokens) - 1
        speculation.draft([sequence], step_cost, 512)
        n_drafted.append(len(sequence.draft))
        step_cost.add(1 + len(sequence.draft), 0, seconds(1 + len(sequence.draft)))
        sequence.tokens.append((sequence.draft[0] + 1) % 3 + 7 if sequence.draft else wrong)
    assert sum(n > 1 for n in n_drafted) < 10
    assert sum(n_drafted[20:]) <= 20, "one guess a step is left where it costs next to nothing"
