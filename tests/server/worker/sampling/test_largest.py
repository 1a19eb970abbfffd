"""Choosing from the k largest entries of a row gives what choosing from the whole row gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from models.errors import LlamaCppError
from server.worker.sampling.row_samplers import RowRequest
from tests.server.worker.sampling.chains import (
    NO_CONTEXT,
    Logits,
    SizedVocab,
    open_rows,
    random_logits,
)

pytestmark = pytest.mark.model

K = 64
REQUESTS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"temperature": 1.5, "top_k": 62, "top_p": 1.0, "min_p": 0.0},
    {"top_k": 1},
    {"top_k": 40, "typical_p": 0.9, "xtc_probability": 0.5, "dynatemp_range": 0.3},
]
VOCABULARIES = {"plain": SizedVocab(3000), "suppresses": SizedVocab(3000, (11, 12))}


def largest(random: np.random.Generator, logits: Logits) -> tuple[Any, Logits]:
    """Ids and logits of the K largest of each row, shuffled as a device leaves them."""
    ids = np.argsort(-logits, axis=1, kind="stable")[:, :K].astype(np.int32)
    random.permuted(ids, axis=1, out=ids)
    return ids, np.take_along_axis(logits, ids, 1)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("ban_eog", [False, True])
def test_chooses_what_whole_rows_choose(vocabulary: str, ban_eog: bool) -> None:
    vocab = VOCABULARIES[vocabulary]
    random = np.random.default_rng(3)
    requests = [each for each in REQUESTS if each.get("top_k", 40) <= K - 4 or vocabulary == "plain"]
    whole, few = open_rows(vocab, requests), open_rows(vocab, requests)
    wanted = [RowRequest(row, row, row, [], ban_eog) for row in range(len(requests))]
    for step in range(700):
        logits = random_logits(random, len(requests), 3000, (0.2, 1.0, 4.0)[step % 3])
        logits[:, [2, 3, 11, 12]] += 8.0 * (step % 2)  # what is banned is likely
        ids, values = largest(random, logits)
        assert few.sample_largest(ids, values, wanted) == whole.sample(NO_CONTEXT, logits, wanted)


def test_equal_logits_give_the_same_token_whatever_their_order() -> None:
    random = np.random.default_rng(4)
    requests: list[dict[str, Any]] = [{"temperature": 0.0}, {"top_k": 64, "top_p": 1.0, "min_p": 0.0}]
    whole, few = open_rows(SizedVocab(50), requests), open_rows(SizedVocab(50), requests)
    wanted = [RowRequest(row, row, row, [], False) for row in range(2)]
    for _ in range(300):
        logits = np.round(random_logits(random, 2, 50, 1.0))
        ids = np.stack([random.permutation(50) for _ in range(2)]).astype(np.int32)
        values = np.take_along_axis(logits, ids, 1)
        assert few.sample_largest(ids, values, wanted) == whole.sample(NO_CONTEXT, logits, wanted)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_fails_alone(bad: float) -> None:
    samplers = open_rows(SizedVocab(3000), [{}, {}])
    ids = np.tile(np.arange(K, dtype=np.int32), (2, 1))
    logits = np.zeros((2, K), np.float32)
    logits[0, slice(None) if bad == -math.inf else 5] = bad
    wanted = [RowRequest(row, row, row, [], False) for row in range(2)]
    failed, tokens = samplers.sample_largest(ids, logits, wanted)
    assert isinstance(failed, LlamaCppError)
    assert isinstance(tokens, list)


@pytest.mark.parametrize(
    ("params", "fits", "fits_without_end"),
    [
        ({}, True, True),
        ({"temperature": 0.0}, True, True),
        ({"top_k": 62}, True, True),
        ({"top_k": 63}, True, False),
        ({"top_k": 65}, False, False),
        ({"top_k": 0}, False, False),
        ({"top_k": 0, "top_p": 1.0}, False, False),
        ({"repeat_penalty": 1.1}, False, False),
        ({"logit_bias": ((5, 1.0),)}, False, False),
        ({"temperature": 0.0, "presence_penalty": 0.5}, False, False),
        ({"mirostat": 2}, False, False),
        ({"top_n_sigma": 1.0}, False, False),
    ],
)
def test_what_fits(params: dict[str, Any], fits: bool, fits_without_end: bool) -> None:
    samplers = open_rows(SizedVocab(3000), [params])
    assert samplers.fits(0, K, ban_eog=False) == fits
    assert samplers.fits(0, K, ban_eog=True) == fits_without_end
