from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from models.errors import CorralError, LlamaCppError, RequestError
from server.engine.sampling_params import SamplingParams
from server.worker.sampling.row_samplers import RowRequest, RowSamplers
from tests.server.worker.sampling.chains import (
    N_CTX,
    NO_CONTEXT,
    PROMPT,
    SizedVocab,
    open_chain,
    open_rows,
    pick,
    random_logits,
    sample_rows,
)

pytestmark = pytest.mark.model

ALLOWED = 1e-3
"""The part of the draws that may differ from the chain's: sums in 64 bits instead of 32, so numbers at the
limit between two tokens, and equal logits, may go the other way."""

OFF: dict[str, Any] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
REQUESTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "greedy": {"temperature": 0.0},
    "almost cold": {"temperature": 1e-6},
    "hot": {"temperature": 1.7, "top_k": 100, "min_p": 0.01},
    "one": {"top_k": 1},
    "more than there are": {"top_k": 10**6, "top_p": 0.9},
    "top_k": {**OFF, "top_k": 30},
    "many": {**OFF, "top_k": 700},
    "top_k and min_p": {"top_p": 1.0},
    "top_k and top_p": {"min_p": 0.0, "temperature": 1.0},
    "top_p": {**OFF, "top_p": 0.9},
    "no top_p": {**OFF, "top_p": 0.0},
    "min_p": {**OFF, "min_p": 0.02, "temperature": 1.0},
    "all of min_p": {**OFF, "min_p": 1.0},
    "top_p and min_p": {"top_k": 0},
    "min_p and xtc": {**OFF, "min_p": 0.02, "xtc_probability": 0.5},
    "min_p and dynamic temperature": {**OFF, "min_p": 0.02, "dynatemp_range": 0.5, "temperature": 1.0},
    "nothing": OFF,
    "nothing, hot": {**OFF, "temperature": 1.3},
    "penalties": {"repeat_penalty": 1.3, "presence_penalty": 0.4, "frequency_penalty": 0.3},
    "short memory": {"repeat_penalty": 2.0, "repeat_last_n": 3},
    "greedy with penalties": {"temperature": 0.0, "repeat_penalty": 1.5, "frequency_penalty": 0.5},
    "no memory": {"repeat_penalty": 2.0, "repeat_last_n": 0},
    "long memory": {"repeat_penalty": 1.3, "presence_penalty": 0.4, "repeat_last_n": -1},
    "bias": {"logit_bias": ((5, 4.0), (6, -math.inf), (5, 3.0), (7, -2.0))},
}


@pytest.mark.parametrize("n_vocab", [40, 4099, 16384])
@pytest.mark.parametrize("name", REQUESTS)
def test_picks_what_the_chain_picks(name: str, n_vocab: int) -> None:
    vocab = SizedVocab(n_vocab)
    random = np.random.default_rng(1)
    different = drawn = 0
    for scale in (1.0, 2.5, 8.0):
        samplers = open_rows(vocab, [REQUESTS[name]] * 4, first_seed=11)
        chains = [open_chain(vocab, REQUESTS[name], 11 + number) for number in range(4)]
        for _ in range(80 if n_vocab < 10_000 else 25):
            logits = random_logits(random, 4, n_vocab, scale)
            expected = [pick(chain, row) for chain, row in zip(chains, logits, strict=True)]
            found = sample_rows(samplers, logits, range(4))
            drawn += 4
            different += sum(a != b for a, b in zip(expected, found, strict=True))
        for chain in chains:
            chain.close()
    assert different <= ALLOWED * drawn


@pytest.mark.parametrize("suppressed", [(), (4, 9)])
def test_a_mixed_step_is_each_row_alone(suppressed: tuple[int, ...]) -> None:
    """More steps than one block of random numbers; sequences come in another order each time."""
    vocab = SizedVocab(1000, suppressed)
    requests = list(REQUESTS.values())
    together, alone = open_rows(vocab, requests), open_rows(vocab, requests)
    random = np.random.default_rng(2)
    for _ in range(300):
        order = [int(number) for number in random.permutation(len(requests))]
        logits = random_logits(random, len(requests), 1000, 2.5)
        found = sample_rows(together, logits, order)
        single = [sample_rows(alone, logits[row : row + 1], [number])[0] for row, number in enumerate(order)]
        assert found == single
        assert not set(found) & set(suppressed)


@pytest.mark.parametrize(
    "name", ["defaults", "top_p", "min_p", "nothing", "penalties", "top_k and top_p", "hot"]
)
def test_tokens_come_as_often_as_the_chains_probabilities_say(name: str) -> None:
    params = {**REQUESTS[name], "repeat_last_n": 0}
    n_draws = 6000
    vocab = SizedVocab(200)
    logits = random_logits(np.random.default_rng(3), 1, 200, 1.5)
    with open_chain(vocab, params, 5) as chain:
        left = chain.apply(logits[0])
    samplers = open_rows(vocab, [params], first_seed=77)
    counts = np.bincount([sample_rows(samplers, logits, [0])[0] for _ in range(n_draws)], minlength=200)
    expected = np.zeros(200)
    expected[left.ids] = left.probabilities * n_draws
    assert not counts[expected == 0].any()
    rare = (expected > 0) & (expected < 5)
    pairs = [(counts[i], expected[i]) for i in np.flatnonzero(expected >= 5)]
    if expected[rare].sum() > 5:
        pairs.append((counts[rare].sum(), expected[rare].sum()))
    chi_square = sum((count - mean) ** 2 / mean for count, mean in pairs)
    freedom = len(pairs) - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * max(freedom, 1))


@pytest.mark.parametrize(
    "name", ["defaults", "greedy", "penalties", "short memory", "top_p", "min_p", "nothing"]
)
@pytest.mark.parametrize("right", [0, 1, 3])
def test_a_draft_changes_no_token(name: str, right: int) -> None:
    """`right`: how many of each draft's three tokens are those that come without one."""
    vocab = SizedVocab(1000)
    random = np.random.default_rng(4)
    rows = random_logits(random, 200, 1000, 4.0)
    plain, drafted = open_rows(vocab, [REQUESTS[name]]), open_rows(vocab, [REQUESTS[name]])
    expected = [sample_rows(plain, rows[at : at + 1], [0])[0] for at in range(len(rows))]
    at = 0
    while at < len(rows) - 4:
        draft = [
            token if place < right else (token + 1) % 1000
            for place, token in enumerate(expected[at : at + 3])
        ]
        wanted = [RowRequest(0, 0, 0, draft, ban_eog=False)]
        (tokens,) = drafted.sample(NO_CONTEXT, rows[at : at + 4].copy(), wanted)
        assert tokens == expected[at : at + right + 1]
        at += right + 1


def test_drafts_and_single_rows_in_one_step() -> None:
    vocab = SizedVocab(1000)
    logits = random_logits(np.random.default_rng(5), 6, 1000, 3.0)
    requests = [{}, {"repeat_penalty": 1.4}, {"temperature": 0.0}]
    best = int(logits[5].argmax())
    wanted = [
        RowRequest(0, 0, 0, [1, 2], ban_eog=False),
        RowRequest(1, 3, 3, [8], ban_eog=False),
        RowRequest(2, 5, 5, [], ban_eog=False),
    ]
    found = open_rows(vocab, requests).sample(NO_CONTEXT, logits.copy(), wanted)
    alone = []
    for each in wanted:
        part = logits[each.row : each.row + len(each.draft) + 1].copy()
        alone += open_rows(vocab, requests).sample(NO_CONTEXT, part, [each._replace(row=0, index=0)])
    assert found == alone
    assert found[2] == [best]


@pytest.mark.parametrize("name", ["defaults", "greedy", "top_p", "min_p", "nothing", "penalties", "many"])
@pytest.mark.parametrize("n_vocab", [40, 1000])
@pytest.mark.parametrize("damage", ["nan", "last nan", "inf", "all banned"])
def test_a_damaged_row_is_an_error_for_its_sequence_alone(name: str, n_vocab: int, damage: str) -> None:
    vocab = SizedVocab(n_vocab)
    logits = random_logits(np.random.default_rng(6), 3, n_vocab, 2.0)
    whole = open_rows(vocab, [REQUESTS[name]] * 3)
    expected = sample_rows(whole, logits, range(3))
    if damage == "all banned":
        logits[1] = -np.inf
    else:
        place = n_vocab - 1 if damage == "last nan" else n_vocab // 3
        logits[1, place] = np.inf if damage == "inf" else np.nan
    wanted = [RowRequest(row, row, row, [], ban_eog=False) for row in range(3)]
    found = open_rows(vocab, [REQUESTS[name]] * 3).sample(NO_CONTEXT, logits, wanted)
    assert isinstance(found[1], LlamaCppError)
    assert "aren't finite" in found[1].message
    assert [found[0], found[2]] == [[expected[0]], [expected[2]]]


def test_a_damaged_row_of_a_draft_matters_once_it_is_reached() -> None:
    vocab = SizedVocab(100)
    logits = random_logits(np.random.default_rng(7), 2, 100, 2.0)
    logits[1] = np.nan
    first = int(logits[0].argmax())

    def sample(draft: list[int]) -> list[int] | CorralError:
        samplers = open_rows(vocab, [{"temperature": 0.0}])
        return samplers.sample(NO_CONTEXT, logits.copy(), [RowRequest(0, 0, 0, draft, ban_eog=False)])[0]

    assert sample([(first + 1) % 100]) == [first]
    assert isinstance(sample([first]), LlamaCppError)


def test_a_bias_that_bans_everything_is_the_requests_error() -> None:
    samplers = open_rows(SizedVocab(8), [{"logit_bias": tuple((token, -math.inf) for token in range(8))}])
    (found,) = samplers.sample(
        NO_CONTEXT, np.zeros((1, 8), np.float32), [RowRequest(0, 0, 0, [], ban_eog=False)]
    )
    assert isinstance(found, RequestError)
    assert found.param == "logit_bias"


@pytest.mark.parametrize("name", ["defaults", "top_p", "min_p", "nothing", "top_k and min_p"])
def test_equal_logits_are_drawn_alike(name: str) -> None:
    """Three tokens, all the same, among a thousand impossible ones: none is ever left out."""
    logits = np.full((1, 1000), -np.inf, np.float32)
    logits[0, [17, 400, 999]] = 1.5
    samplers = open_rows(SizedVocab(1000), [REQUESTS[name]])
    counts = np.bincount([sample_rows(samplers, logits, [0])[0] for _ in range(900)], minlength=1000)
    assert counts[[17, 400, 999]].sum() == 900
    assert counts[[17, 400, 999]].min() > 230


def test_of_equal_logits_greedy_takes_the_first() -> None:
    logits = np.zeros((1, 300), np.float32)
    logits[0, [70, 71, 200]] = 2.0
    assert sample_rows(open_rows(SizedVocab(300), [{"temperature": 0.0}]), logits, [0]) == [70]


@pytest.mark.parametrize("name", ["defaults", "greedy", "top_p", "min_p", "nothing"])
def test_a_mask_that_leaves_one_token_leaves_it(name: str) -> None:
    logits = np.full((1, 5000), -np.inf, np.float32)
    logits[0, 4321] = -3.0
    assert sample_rows(open_rows(SizedVocab(5000), [REQUESTS[name]]), logits, [0]) == [4321]


def test_bans_hold_where_they_are_asked_for() -> None:
    vocab = SizedVocab(100, suppressed=(50,))
    logits = np.zeros((3, 100), np.float32)
    logits[:, [2, 3]] = 9.0  # ends of the answer
    logits[:, 50] = 20.0
    logits[:, 7] = 5.0
    samplers = open_rows(vocab, [{"temperature": 0.0}] * 2)
    wanted = [RowRequest(0, 0, 0, [7], ban_eog=True), RowRequest(1, 2, 2, [], ban_eog=False)]
    assert samplers.sample(NO_CONTEXT, logits, wanted) == [[7, 7], [2]]


@pytest.mark.parametrize("seed", [0, 2**32 - 2, 2**32 - 1, 2**64 - 1])
def test_every_seed_is_the_chains(seed: int) -> None:
    vocab = SizedVocab(500)
    samplers = RowSamplers(vocab, N_CTX)
    samplers.open(4, SamplingParams(), seed, PROMPT)
    random = np.random.default_rng(8)
    with open_chain(vocab, {}, seed) as chain:
        for _ in range(20):
            logits = random_logits(random, 1, 500, 1.0)
            assert sample_rows(samplers, logits, [4]) == [pick(chain, logits[0])]


def test_a_bad_parameter_names_itself_and_opens_nothing() -> None:
    samplers = RowSamplers(SizedVocab(100), N_CTX)
    with pytest.raises(RequestError) as caught:
        samplers.open(1, SamplingParams(top_p=1.5), 0, PROMPT)
    assert caught.value.param == "top_p"
    samplers.close(1)
