from __future__ import annotations

import math

import numpy as np
import pytest

from quantize.evaluate.divergence import Divergences, Losses, log_softmax, mean_figure


def test_log_softmax() -> None:
    logits = np.random.default_rng(1).normal(0, 5, (300, 50)).astype(np.float32)
    log_p = log_softmax(logits)
    assert np.allclose(np.exp(log_p.astype(np.float64)).sum(axis=1), 1.0, atol=1e-5)
    assert np.allclose(log_p - log_p[:, :1], logits - logits[:, :1], atol=1e-4)


def test_a_uniform_model_is_as_perplexed_as_it_has_tokens() -> None:
    losses = Losses()
    losses.add(log_softmax(np.zeros((20, 64), np.float32)), np.arange(20, dtype=np.int32))
    found = losses.perplexity()
    assert found.perplexity.value == pytest.approx(64, rel=1e-6)
    assert found.n_tokens == 20


def test_a_known_divergence() -> None:
    p, q = np.asarray([[0.5, 0.25, 0.25]]), np.asarray([[0.25, 0.5, 0.25]])
    base, other = np.log(p).astype(np.float32), np.log(q).astype(np.float32)
    sums, losses, base_losses = Divergences(), Losses(), Losses()
    for _ in range(4):
        sums.add(base, other)
        base_losses.add(base, np.zeros(1, np.int32))
        losses.add(other, np.zeros(1, np.int32))
    found = sums.divergence(base_losses, losses)
    expected = float((p * np.log(p / q)).sum())
    assert found.mean.value == pytest.approx(expected, rel=1e-6)
    assert found.maximum == pytest.approx(expected, rel=1e-6)
    assert found.same_top.value == 0.0
    assert found.ln_ratio.value == pytest.approx(math.log(2), rel=1e-6)


def test_none_from_itself() -> None:
    log_p = log_softmax(np.random.default_rng(2).normal(0, 3, (50, 20)).astype(np.float32))
    sums, losses = Divergences(), Losses()
    sums.add(log_p, log_p)
    losses.add(log_p, np.zeros(50, np.int32))
    found = sums.divergence(losses, losses)
    assert found.mean.value == 0.0
    assert found.same_top.value == 1.0


def test_the_standard_error() -> None:
    figure = mean_figure(np.asarray([1.0, 2.0, 3.0, 4.0]))
    assert figure.value == 2.5
    assert figure.error == pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2)
