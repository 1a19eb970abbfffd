"""The probabilities behind all samplers, beside what RowSamplers draws with the same seed."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from models.errors import LlamaCppError
from server.engine.sampling_params import SamplingParams
from server.worker.sampling.probabilities_left import ProbabilitiesLeft
from tests.server.worker.sampling.chains import (
    N_CTX,
    PROMPT,
    SizedVocab,
    open_rows,
    random_logits,
    sample_rows,
)

pytestmark = pytest.mark.model

VOCAB = SizedVocab(40)


def left_of(seed: int, **params: Any) -> ProbabilitiesLeft:
    return ProbabilitiesLeft(VOCAB, SamplingParams(**params), seed, PROMPT, N_CTX)


def spelled(token: int) -> bytes:
    return b"%d" % token


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 0.0},
        {"top_k": 3, "temperature": 2.0},
        {"repeat_penalty": 1.8, "presence_penalty": 0.4},
        {"xtc_probability": 0.5, "xtc_threshold": 0.05, "min_p": 0.0},
        {"logit_bias": ((5, -math.inf),), "temperature": 3.0},
    ],
)
def test_drawn_tokens_are_among_what_is_left_and_the_rest_sums_to_one(params: dict[str, Any]) -> None:
    random = np.random.default_rng(3)
    samplers, left = open_rows(VOCAB, [params], first_seed=7), left_of(7, **params)
    limit = params.get("top_k", 40)
    n_certain = 0
    for _ in range(60):
        logits = random_logits(random, 1, 40, 2.0)
        (token,) = sample_rows(samplers, logits, [0])
        (told,) = left.of(logits, [token], 40, spelled)
        assert (told.token, told.piece, told.logprob is not None) == (token, spelled(token), True)
        assert token in [other for other, _, _ in told.top]
        assert len(told.top) <= limit
        probabilities = [math.exp(logprob) for _, _, logprob in told.top]
        assert probabilities == sorted(probabilities, reverse=True)
        assert min(probabilities) > 0
        assert sum(probabilities) == pytest.approx(1.0, abs=1e-4)
        assert 5 not in [other for other, _, _ in told.top] or "logit_bias" not in params
        n_certain += len(told.top) == 1
    assert n_certain == 60 if params.get("temperature") == 0.0 else n_certain < 30
    left.close()


def test_tokens_come_as_often_as_they_are_told_to() -> None:
    logits = np.zeros((1, 40), np.float32)
    logits[0, :3] = 4.0, 3.0, 2.0
    samplers = open_rows(VOCAB, [{"temperature": 0.7, "top_k": 3, "min_p": 0.0, "top_p": 1.0}] * 2000)
    drawn = Counter(sample_rows(samplers, np.repeat(logits, 2000, axis=0), range(2000)))
    left = left_of(1, temperature=0.7, top_k=3, min_p=0.0, top_p=1.0)
    (told,) = left.of(logits, [0], 2, spelled)
    assert [token for token, _, _ in told.top] == [0, 1]
    for token, _, logprob in told.top:
        assert drawn[token] / 2000 == pytest.approx(math.exp(logprob), abs=0.04)
    left.close()


def test_what_was_banned_has_no_probability_and_a_forced_token_is_certain() -> None:
    logits = np.zeros((2, 40), np.float32)
    logits[0, 1:] = -np.inf
    left = left_of(1)
    only, forced = left.of(np.concatenate([logits[:1], logits[:1]]), [0, 9], 5, spelled)
    assert [(token, math.exp(logprob)) for token, _, logprob in only.top] == [(0, 1.0)]
    assert (forced.token, forced.logprob, forced.top) == (9, 0.0, ((9, b"9", 0.0),))
    left.close()


def test_a_row_that_is_not_finite_is_an_error() -> None:
    left = left_of(1)
    with pytest.raises(LlamaCppError):
        left.of(np.full((1, 40), np.nan, np.float32), [0], 5, spelled)
    left.close()
