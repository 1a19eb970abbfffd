from __future__ import annotations

import random

import pytest

from server.engine.engine import EngineConfig
from server.engine.request import EngineRequest
from server.engine.scheduling.passes import Passes
from server.engine.sequence import Sequence
from server.engine.speculation.acceptance import Acceptance
from server.engine.speculation.draft_lengths import DRAFT_MAX, LENGTHS, best_length
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import (
    CONTROL_STEPS,
    PAUSE_STEPS,
    REST_STEPS,
    Speculation,
)
from server.engine.speculation.step_cost import StepCost
from tests.server.engine.harness import Clock, Harness, expected_text, group_of, request
from tests.server.engine.proposers import Oracle
from tests.server.engine.scripted_runner import ScriptedRunner

N_CTX = 200
N_BATCH = 512


def cost_where(seconds_of: dict[int, float]) -> StepCost:
    cost = StepCost()
    for n_tokens, seconds in seconds_of.items():
        cost.add(n_tokens, 0, seconds)
    return cost


FLAT = cost_where({1: 0.010, 64: 0.010})
"""Steps of any size take the same: the weights are read once."""
LINEAR = cost_where({1: 0.010, 64: 0.640})
"""Each token costs as much as a step."""


def generating(asked: EngineRequest, n_generated: int = 1) -> Sequence:
    """A sequence that has generated so much, all computed but the last token."""
    sequence = group_of(asked, N_CTX).sequences[0]
    sequence.tokens += [1] * n_generated
    sequence.n_computed = len(sequence.tokens) - 1
    return sequence


def drafted(speculation: Speculation, *running: Sequence, cost: StepCost = FLAT) -> list[int]:
    """Return the length of the draft that each gets."""
    speculation.draft(list(running), cost, N_BATCH)
    return [len(sequence.draft) for sequence in running]


# --- how often guesses are right -------------------------------------------------------------------------


def test_hits_and_misses_move_the_share_and_the_latest_count_most() -> None:
    acceptance = Acceptance()
    assert acceptance.share == 0.5
    acceptance.count(30, missed=False)
    assert acceptance.share > 0.95
    for _ in range(7):
        acceptance.count(0, missed=True)
    assert acceptance.share < 0.8
    acceptance.count(0, missed=True)
    latest = acceptance.share
    for _ in range(100):
        acceptance.count(0, missed=True)
    assert acceptance.share < 0.1 < latest


def test_a_new_sequence_is_expected_to_be_like_the_others() -> None:
    overall = Acceptance()
    first = Acceptance(overall)
    first.count(40, missed=False)
    second = Acceptance(overall)
    assert second.share > 0.9
    for _ in range(20):
        second.count(0, missed=True)
    assert second.share < 0.4
    assert second.share < Acceptance(overall).share < first.share


def test_a_guess_that_was_not_computed_is_judged_by_what_came() -> None:
    right, wrong = Acceptance(), Acceptance()
    for acceptance in (right, wrong):
        acceptance.remember([5, 6, 7], 2)
        acceptance.judge([1, 2, 5])
        assert acceptance.share > 0.5, "what has come was right"
    seen = right.share
    right.judge([1, 2, 5, 6, 7])
    wrong.judge([1, 2, 5, 8])
    assert right.share > seen > wrong.share


def test_all_of_a_guess_is_judged_not_only_what_was_drafted() -> None:
    cost = cost_where({1: 0.010, 4: 0.011, 5: 1.0, 64: 1.0})
    sequence = generating(request(range(10), max_tokens=100))
    oracle = Oracle(1.0)
    speculation = Speculation(oracle)
    assert drafted(speculation, sequence, cost=cost) == [3]
    before = speculation.acceptance_of(sequence).share
    sequence.tokens += oracle.guess(sequence, 20)
    sequence.n_computed = len(sequence.tokens) - 1
    drafted(speculation, sequence, cost=cost)
    hits = Acceptance(Acceptance())
    hits.count(20, missed=False)
    assert speculation.acceptance_of(sequence).share == hits.share > before


def test_a_guess_is_judged_once_and_the_first_is_kept_till_then() -> None:
    acceptance = Acceptance()
    acceptance.remember([5, 6], 1)
    acceptance.remember([9, 9], 2)
    acceptance.judge([1, 5, 6])
    share = acceptance.share
    assert share > 0.5
    acceptance.judge([1, 5, 6, 7])
    assert acceptance.share == share


def test_the_right_beginning_of_a_wrong_guess_counts() -> None:
    beginning, nothing = Acceptance(), Acceptance()
    beginning.remember([5, 6, 7], 0)
    beginning.judge([5, 6, 9])
    nothing.remember([5, 6, 7], 0)
    nothing.judge([9, 9, 9])
    assert beginning.share > nothing.share


# --- how long a draft pays -------------------------------------------------------------------------------


def test_where_steps_cost_the_same_every_guess_pays() -> None:
    assert best_length(0.5, DRAFT_MAX, 1, FLAT) == DRAFT_MAX
    assert best_length(0.5, DRAFT_MAX, 8, FLAT) == DRAFT_MAX


def test_it_is_one_of_few_lengths() -> None:
    assert best_length(0.5, 16, 1, FLAT) == 15
    assert {best_length(0.5, n, 1, FLAT) for n in range(DRAFT_MAX + 1)} == {0, *LENGTHS}


def test_where_each_token_costs_a_step_no_guess_pays() -> None:
    assert best_length(0.9, 16, 1, LINEAR) == 0
    assert best_length(0.9, 16, 8, LINEAR) == 0


def test_it_ends_where_a_larger_batch_becomes_dear() -> None:
    cost = cost_where({1: 0.010, 8: 0.011, 9: 0.050, 32: 0.100})
    assert best_length(0.8, 16, 1, cost) == 7
    assert best_length(0.8, 16, 4, cost) == 3


def test_better_guesses_make_longer_drafts() -> None:
    cost = cost_where({1: 0.010, 33: 0.026})
    lengths = [best_length(share, 16, 1, cost) for share in (0.1, 0.4, 0.7, 0.9, 0.99)]
    assert lengths == sorted(lengths)
    assert lengths[0] < 3
    assert lengths[-1] == 15


def test_guesses_that_cost_time_themselves_are_fewer() -> None:
    assert best_length(0.7, 16, 1, FLAT, guess_s=0.002) < 16
    assert best_length(0.7, 16, 1, FLAT, guess_s=0.010) == 0


def test_what_promises_a_hundredth_more_is_not_tried() -> None:
    cost = cost_where({1: 0.0100, 2: 0.0109, 64: 0.100})
    assert best_length(0.1, 1, 1, cost) == 0
    assert best_length(0.2, 1, 1, cost) == 1


def test_a_guess_that_begins_wrongly_says_more_than_one_that_ends_so() -> None:
    begun, ended = Acceptance(), Acceptance()
    for acceptance in (begun, ended):
        acceptance.count(40, missed=False)
    begun.count(0, missed=True)
    ended.count(1, missed=True)
    assert begun.share < 0.85 < ended.share


def test_unmeasured_all_are_tried() -> None:
    assert best_length(0.1, 5, 1, StepCost()) == 5


# --- who gets one ----------------------------------------------------------------------------------------


def test_only_sequences_that_generate_get_a_draft() -> None:
    prompt = generating(request(range(10)), 0)
    preempted = generating(request(range(10)))
    preempted.n_computed = 3
    scoring = generating(request(range(10), score_prompt=True))
    ready = generating(request(range(10), max_tokens=100))
    assert drafted(Speculation(Oracle(1.0)), prompt, preempted, scoring, ready) == [0, 0, 0, DRAFT_MAX]


@pytest.mark.parametrize(
    ("max_tokens", "length"), [(1, 0), (2, 0), (3, 1), (4, 2), (100, DRAFT_MAX), (None, DRAFT_MAX)]
)
def test_no_token_is_guessed_that_max_tokens_would_cut(max_tokens: int | None, length: int) -> None:
    asked = request(range(10), max_tokens=max_tokens)
    assert drafted(Speculation(Oracle(1.0)), generating(asked)) == [length]


@pytest.mark.parametrize(("n_generated", "length"), [(1, 3), (2, 2), (4, 0), (5, DRAFT_MAX), (9, DRAFT_MAX)])
def test_a_draft_does_not_cross_the_end_of_min_tokens(n_generated: int, length: int) -> None:
    asked = request(range(10), min_tokens=5, max_tokens=100)
    assert drafted(Speculation(Oracle(1.0)), generating(asked, n_generated)) == [length]


def test_with_ignore_eos_min_tokens_is_no_limit() -> None:
    asked = request(range(10), min_tokens=5, max_tokens=100, ignore_eos=True)
    assert drafted(Speculation(Oracle(1.0)), generating(asked)) == [DRAFT_MAX]


def test_drafts_leave_half_of_the_batch_to_prompts() -> None:
    running = [generating(request(range(10), max_tokens=100)) for _ in range(4)]
    speculation = Speculation(Oracle(1.0))
    speculation.draft(running, FLAT, 64)
    assert [len(sequence.draft) for sequence in running] == [28, 0, 0, 0]
    speculation.draft(running, FLAT, 4)
    assert [len(sequence.draft) for sequence in running] == [0, 0, 0, 0]


def test_with_more_sequences_than_it_is_for_none_gets_a_draft() -> None:
    running = [generating(request(range(10), max_tokens=100)) for _ in range(4)]
    prompt = generating(request(range(10)), 0)
    speculation = Speculation(Oracle(1.0), n_streams_max=3)
    assert drafted(speculation, *running[:3], prompt) == [DRAFT_MAX] * 3 + [0], "a prompt doesn't count"
    assert drafted(speculation, *running, prompt) == [0] * 5
    assert drafted(speculation, *running[2:]) == [DRAFT_MAX] * 2


def test_a_full_cache_takes_all_drafts_back_for_a_while() -> None:
    running = [generating(request(range(10), max_tokens=100)) for _ in range(2)]
    speculation = Speculation(Oracle(1.0))
    assert drafted(speculation, *running) == [DRAFT_MAX] * 2
    assert speculation.withdraw(running)
    assert [sequence.draft for sequence in running] == [[], []]
    assert not speculation.withdraw(running)
    lengths = [drafted(speculation, *running) for _ in range(PAUSE_STEPS + 1)]
    assert lengths == [[0, 0]] * PAUSE_STEPS + [[DRAFT_MAX] * 2]


def test_guesses_that_are_never_right_end_and_come_back_when_they_would_be() -> None:
    cost = cost_where({1: 0.010, 17: 0.020})
    sequence = generating(request(range(10), max_tokens=None, ignore_eos=True))
    oracle = Oracle(0.0)
    speculation = Speculation(oracle)
    for _ in range(60):
        length = drafted(speculation, sequence, cost=cost)[0]
        wrong = sequence.draft[0] ^ 1 if length else 0
        sequence.tokens.append(wrong)
        sequence.n_computed += 1
    assert length == 0
    oracle.share = 1.0
    n_steps = 0
    while not drafted(speculation, sequence, cost=cost)[0]:
        sequence.tokens += oracle.guess(sequence, 1)
        sequence.n_computed += 1
        n_steps += 1
        assert n_steps < 60, "it must be noticed that they have become right"


def test_a_proposer_that_costs_time_is_not_asked_where_that_does_not_pay() -> None:
    sequence = generating(request(range(10), max_tokens=100), 1)
    oracle = Oracle(1.0, guess_s=0.020)
    speculation = Speculation(oracle)
    assert drafted(speculation, sequence) == [0]
    assert oracle.n_calls == 0
    lengths = [drafted(speculation, sequence)[0] for _ in range(63)]
    assert not any(lengths)
    assert 0 < drafted(speculation, sequence)[0] <= 4, "now and then it is asked all the same"


def test_where_no_guess_pays_most_steps_do_not_even_reckon() -> None:
    class Counted(StepCost):
        n_asked = 0

        def estimate(self, n_tokens: int) -> float | None:
            self.n_asked += 1
            return super().estimate(n_tokens)

    cost = Counted([(1, 0.010), (64, 0.010)])
    sequence = generating(request(range(10), max_tokens=100), 1)
    speculation = Speculation(Oracle(1.0, guess_s=0.020))
    n_asked = []
    for _ in range(2 * REST_STEPS):
        before = cost.n_asked
        assert drafted(speculation, sequence, cost=cost) == [0]
        n_asked.append(cost.n_asked - before)
    assert [n > 0 for n in n_asked] == [at % REST_STEPS == 0 for at in range(2 * REST_STEPS)]


def test_guesses_that_cost_time_rest_now_and_then_so_that_steps_without_are_known() -> None:
    speculation = Speculation(Oracle(1.0, guess_s=0.0001))
    has_draft = []
    for _ in range(4 * CONTROL_STEPS):
        sequence = generating(request(range(10), max_tokens=100), 1)
        has_draft.append(drafted(speculation, sequence) != [0])
    rests = [at for at, drafts in enumerate(has_draft) if not drafts]
    first, second = rests[0], rests[REST_STEPS]
    assert rests[: 2 * REST_STEPS] == [*range(first, first + REST_STEPS), *range(second, second + REST_STEPS)]
    assert second - first == 2 * first + REST_STEPS < CONTROL_STEPS
    third, fourth = rests[-2 * REST_STEPS], rests[-REST_STEPS]
    assert fourth - third == CONTROL_STEPS + REST_STEPS


def test_wrong_guesses_that_do_not_pay_are_made_ever_more_seldom() -> None:
    oracle = Oracle(0.0, guess_s=0.020)
    speculation = Speculation(oracle)
    asked = []
    for answer in range(60):
        sequence = generating(request([answer, *range(10)], max_tokens=100), 1)
        for _ in range(50):
            n_before = oracle.n_calls
            drafted(speculation, sequence)
            asked.append(oracle.n_calls > n_before)
            sequence.tokens += Oracle(1.0).guess(sequence, 1)
            sequence.n_computed += 1
        if answer == 29:
            early, late = sum(asked[:500]), sum(asked[-500:])
            assert early > late
            oracle.share = 1.0
    assert sum(asked[-500:]) > late, "right ones are noticed all the same"


def test_what_a_draft_costs_beside_its_guesses_counts() -> None:
    assert best_length(0.7, 16, 1, FLAT, guess_s=0.0005) > 0
    assert best_length(0.7, 16, 1, FLAT, guess_s=0.0005, start_s=0.1) == 0


def test_nothing_is_remembered_of_a_sequence_that_has_ended() -> None:
    sequence = generating(request(range(10), max_tokens=100))
    oracle = Oracle(1.0)
    speculation = Speculation(oracle)
    acceptance = speculation.acceptance_of(sequence)
    assert speculation.acceptance_of(sequence) is acceptance
    speculation.close(sequence)
    assert oracle.closed == {sequence.id}
    assert speculation.acceptance_of(sequence) is not acceptance


def test_the_proposer_hears_of_each_end() -> None:
    oracle = Oracle(1.0)
    harness = Harness(speculation=Speculation(oracle))
    crowd = [request([first], n=2, max_tokens=10) for first in range(3)]
    harness.run(crowd)
    assert len(oracle.closed) == 6


# --- in the engine ---------------------------------------------------------------------------------------


def test_right_guesses_make_fewer_steps_and_are_counted() -> None:
    asked = request([0, 1, 2], max_tokens=41, ignore_eos=True)
    harness = Harness(speculation=Speculation(Oracle(1.0), draft_max=5))
    harness.run([asked])
    outcome = harness.outcomes[asked.id]
    assert outcome.text[0] == expected_text(asked, 256)
    timings = outcome.finish.timings
    assert len(harness.runner.batches) <= 1 + 8 + 2, "a step without a guess is tried, to know its time"
    assert timings.draft_n == timings.draft_n_accepted >= 28
    assert outcome.finish.usage.completion_tokens == 41
    assert harness.engine.stats.generated_tokens_total == 41


def test_what_passes_between_steps_is_measured_of_steps_without_drafts() -> None:
    clock = Clock()
    runner = ScriptedRunner(spend=clock.spend_per_token(0.01))
    harness = Harness(runner, clock=clock)
    for first in range(2):
        harness.submit(request([first], max_tokens=20, ignore_eos=True))
        clock.now_s += 100.0  # nobody asks anything
        while harness.engine.has_work:
            harness.step()
            clock.now_s += 0.002
    between_s = harness.engine.step_cost.between_s
    assert between_s is not None
    assert 0.002 < between_s < 0.010


def test_wrong_guesses_cost_no_step_and_soon_end_where_tokens_cost() -> None:
    clock = Clock()
    asked = request([0, 1, 2], max_tokens=200, ignore_eos=True)
    runner = ScriptedRunner(spend=clock.spend_per_token(0.01))
    harness = Harness(runner, speculation=Speculation(Oracle(0.0)), clock=clock)
    harness.run([asked])
    timings = harness.outcomes[asked.id].finish.timings
    assert harness.outcomes[asked.id].text[0] == expected_text(asked, 256)
    assert len(runner.batches) == 200
    assert timings.draft_n_accepted == 0
    assert 0 < timings.draft_n < 100


def test_without_room_for_guesses_a_lone_sequence_goes_on_without() -> None:
    asked = request(range(10), max_tokens=40, ignore_eos=True)
    harness = Harness(ScriptedRunner(n_slots=2, n_cells=52), speculation=Speculation(Oracle(0.5)))
    harness.run([asked])
    outcome = harness.outcomes[asked.id]
    assert outcome.text[0] == expected_text(asked, 256)
    assert outcome.finish.usage.completion_tokens == 40
    assert harness.engine.stats.preemptions_total == 0


def test_guesses_never_overfill_a_batch() -> None:
    crowd = [request([first], max_tokens=50, ignore_eos=True) for first in range(6)]
    runner = ScriptedRunner(n_slots=6, n_batch=16)
    harness = Harness(
        runner, EngineConfig(prefill_tokens_alone=4), Speculation(Oracle(0.8, random.Random(3)))
    )
    harness.run(crowd)
    assert max(batch.n_tokens for batch in runner.batches) <= 16
    for asked in crowd:
        assert harness.outcomes[asked.id].text[0] == expected_text(asked, 256)


def test_a_model_that_cant_be_trimmed_is_not_speculated_for() -> None:
    asked = request([0, 1, 2], max_tokens=20, ignore_eos=True)
    harness = Harness(ScriptedRunner(can_trim=False), speculation=Speculation(Oracle(1.0)))
    harness.run([asked])
    assert harness.outcomes[asked.id].finish.timings.draft_n == 0


def test_prompt_lookup_in_the_engine_changes_nothing_but_the_steps() -> None:
    chance = random.Random(5)
    crowd = [request([chance.randrange(3) for _ in range(60)], max_tokens=60) for _ in range(8)]
    harness = Harness(speculation=Speculation(NgramProposer((2, 1))))
    harness.run(crowd)
    assert sum(harness.outcomes[asked.id].finish.timings.draft_n for asked in crowd) > 0
    for asked in crowd:
        assert harness.outcomes[asked.id].text.get(0, "") == expected_text(asked, 256)


# --- after a wrong guess, and several at once ------------------------------------------------------------


def judged(acceptance: Acceptance, guess: list[int], came: list[int]) -> None:
    acceptance.remember(guess, 0)
    acceptance.judge(came)


def test_the_guess_right_after_a_wrong_one_is_judged_by_itself() -> None:
    acceptance = Acceptance()
    acceptance.count(40, missed=False)
    share = acceptance.share
    for _ in range(12):
        judged(acceptance, [5, 6, 7], [5, 6, 9])
        assert acceptance.first_share != acceptance.share
        judged(acceptance, [8], [1])
        assert acceptance.first_share == acceptance.share, "after two wrong ones it is a new beginning"
    judged(acceptance, [5, 6, 7], [5, 6, 9])
    assert acceptance.first_share < 0.3, "here copies end after a replaced token"
    assert acceptance.share > 0.6, "which says nothing of those that go on"
    for _ in range(12):
        judged(acceptance, [8, 5, 6], [8, 5, 9])
    assert acceptance.first_share > 0.6
    assert Acceptance(acceptance).share < share


def test_a_guess_that_goes_wrong_behind_right_ones_counts_once_however_it_is_cut() -> None:
    whole, cut = Acceptance(), Acceptance()
    judged(whole, [5, 6, 7], [5, 6, 9])
    cut.remember([5, 6, 7], 0)
    for came in ([5], [5, 6], [5, 6, 9]):
        cut.judge(came)
    assert cut.share == whole.share


def test_streams_that_repeat_themselves_get_drafts_of_one_length_where_unlike_ones_are_more_passes() -> None:
    costs = {1: 1.0, 2: 1.05, 3: 1.11, 4: 1.23, 6: 1.35, 8: 1.7, 12: 2.18, 16: 2.72, 24: 4.4, 32: 5.8}
    cost = StepCost([(n, 0.01 * part) for n, part in costs.items()])
    running = [generating(request(range(10 + at), max_tokens=100)) for at in range(3)]
    for slot, sequence in enumerate(running):
        sequence.slot = slot
    speculation = Speculation(Oracle(1.0), draft_max=7)
    for sequence, hits in zip(running, (40, 40, 0), strict=True):
        speculation.acceptance_of(sequence).count(hits, missed=not hits)
    speculation.draft(running, cost, N_BATCH, Passes(cost))
    lengths = [len(sequence.draft) for sequence in running]
    assert lengths[0] == lengths[1] > 2
    assert lengths[2] in (0, lengths[0])
    for _ in range(60):
        for sequence in running:
            speculation.acceptance_of(sequence).count(0, missed=True)
    speculation.draft(running, cost, N_BATCH, Passes(cost))
    assert [len(sequence.draft) for sequence in running] == [0, 0, 0]
