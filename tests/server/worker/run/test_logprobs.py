"""Logprobs of rows of logits, without a model."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import LlamaCppError
from server.worker.run.logprobs import log_normalizers, token_logprobs, top_tokens


def piece(token: int) -> bytes:
    return str(token).encode()


def test_logprobs_are_those_of_the_softmax() -> None:
    rows = np.random.default_rng(0).normal(0, 5, (40, 100)).astype(np.float32)
    exact = rows.astype(np.float64)
    exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
    tokens = [int(token) for token in np.random.default_rng(1).integers(0, 100, 39)]
    found = token_logprobs(rows, tokens, 3, piece)
    assert [entry.token for entry in found] == tokens
    for row, entry in zip(exact, found, strict=False):
        assert entry.logprob == pytest.approx(row[entry.token], abs=1e-5)
        best = np.argsort(-row)[:3]
        assert [token for token, _, _ in entry.top] == list(best)
        assert [logprob for _, _, logprob in entry.top] == pytest.approx(row[best], abs=1e-5)
    assert found[0].piece == piece(tokens[0])


def test_of_equals_the_lower_id_comes_first() -> None:
    assert top_tokens(np.array([[1, 2, 2, 2, 0]], np.float32), 2).tolist() == [[1, 2]]
    assert top_tokens(np.zeros((2, 3), np.float32), 0).shape == (2, 0)
    assert top_tokens(np.array([[0, 1]], np.float32), 5).tolist() == [[1, 0]]


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_a_row_that_is_not_finite_is_an_error(bad: list[float]) -> None:
    rows = np.array([[1.0, 2.0], bad], np.float32)
    with pytest.raises(LlamaCppError, match="aren't finite"):
        token_logprobs(rows, [0, 1], 1, piece)
    assert len(token_logprobs(rows, [0], 1, piece)) == 1, "rows that nobody asks about don't matter"


def test_a_token_that_cannot_be_is_no_error() -> None:
    rows = np.array([[1.0, -np.inf]], np.float32)
    assert log_normalizers(rows)[0] == pytest.approx(1.0)
    (entry,) = token_logprobs(rows, [1], 0, piece)
    assert entry.logprob == -np.inf
