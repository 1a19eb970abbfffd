from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import LlamaCppError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from models.llamacpp.sampler import SamplerChain

pytestmark = pytest.mark.model

PROMPT = [1, 404, 413, 271, 358, 385, 368, 371]
N_CTX = 64
Add = Callable[[SamplerChain], None]
"""Appends samplers to a chain."""


def make_logits(values: list[float], n_vocab: int = 448) -> npt.NDArray[np.float32]:
    """Tokens 0 … have these logits; the rest is impossible."""
    logits = np.full(n_vocab, -math.inf, np.float32)
    logits[: len(values)] = values
    return logits


def log_probabilities(*probabilities: float) -> npt.NDArray[np.float32]:
    return make_logits([math.log(p) for p in probabilities])


@contextmanager
def drawing(pico: Model, add: Add | None = None, seed: int = 1) -> Iterator[SamplerChain]:
    """A chain of what `add` appends, at the end of which a token is drawn."""
    with SamplerChain(pico.vocab, seed, N_CTX) as chain:
        if add is not None:
            add(chain)
        chain.add_distribution()
        yield chain


def pick(chain: SamplerChain, logits: npt.NDArray[np.float32]) -> int:
    token = chain.apply(logits).selected
    chain.accept(token)
    return token


def distribution(
    pico: Model, logits: npt.NDArray[np.float32], add: Add | None = None, accepted: list[int] | None = None
) -> dict[int, float]:
    """Return what the chain leaves of `logits`: probability by token, impossible ones left out."""
    with drawing(pico, add) as chain:
        for token in accepted or []:
            chain.accept(token)
        left = chain.apply(logits)
    return {int(token): float(p) for token, p in zip(left.ids, left.probabilities, strict=True) if p > 0}


def test_the_same_seed_picks_the_same_tokens(pico: Model) -> None:
    logits = np.random.default_rng(0).standard_normal(448).astype(np.float32)

    def draw(seed: int) -> list[int]:
        with drawing(pico, seed=seed) as chain:
            return [pick(chain, logits) for _ in range(20)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert len(set(draw(7))) > 3


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32, 2**64 - 1])
def test_every_seed_is_repeatable(seed: int, pico: Model) -> None:
    """0xFFFFFFFF means "random" to llama.cpp; it must not here."""
    logits = np.random.default_rng(0).standard_normal(448).astype(np.float32)
    picked = []
    for _ in range(2):
        with drawing(pico, seed=seed) as chain:
            picked.append([pick(chain, logits) for _ in range(20)])
    assert picked[0] == picked[1]


def test_greedy_is_the_argmax(pico: Model) -> None:
    random = np.random.default_rng(0)
    with SamplerChain(pico.vocab, 1, N_CTX) as chain:
        chain.add_greedy()
        for _ in range(20):
            logits = random.standard_normal(448).astype(np.float32)
            assert pick(chain, logits) == int(logits.argmax())


def test_sampling_a_context_is_sampling_its_logits(context: Context, pico: Model) -> None:
    batch = TokenBatch(64)
    first = batch.add_many(PROMPT, 0, 0, output_last=True)
    second = batch.add_many(PROMPT[:4], 0, 1, output_last=True)
    context.decode(batch)

    def add(chain: SamplerChain) -> None:
        chain.add_penalties(64, 1.3, 0.0, 0.0)
        chain.add_top_k(40)

    for row in (first, second):
        with drawing(pico, add, seed=5) as one, drawing(pico, add, seed=5) as other:
            for _ in range(10):
                assert one.sample(context, row) == pick(other, context.logits()[context.output_place(row)[0]])
    with drawing(pico) as chain, pytest.raises(LlamaCppError, match="has no logits"):
        chain.sample(context, 0)


def test_temperature_sharpens(pico: Model) -> None:
    assert distribution(pico, make_logits([1, 0])) == pytest.approx({0: 0.7311, 1: 0.2689}, abs=1e-3)
    assert distribution(pico, make_logits([1, 0]), lambda chain: chain.add_temperature(0.5)) == pytest.approx(
        {0: 0.8808, 1: 0.1192}, abs=1e-3
    )


def test_dynamic_temperature_follows_the_entropy(pico: Model) -> None:
    """The temperature is 0.5 + 1 * (entropy / greatest entropy); of two tokens, 0.5 + entropy in bits."""
    entropy = -(0.7311 * math.log2(0.7311) + 0.2689 * math.log2(0.2689))
    odds = math.exp(1 / (0.5 + entropy))
    left = distribution(pico, make_logits([1, 0]), _truncated_to_two)
    assert left[0] == pytest.approx(odds / (1 + odds), abs=1e-3)


def _truncated_to_two(chain: SamplerChain) -> None:
    chain.add_top_k(2)
    chain.add_temperature(1.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("add", "expected"),
    [
        (None, {0: 0.5, 1: 0.25, 2: 0.15, 3: 0.1}),
        (lambda chain: chain.add_top_k(2), {0: 0.6667, 1: 0.3333}),
        (lambda chain: chain.add_top_p(0.7), {0: 0.6667, 1: 0.3333}),
        (lambda chain: chain.add_min_p(0.25), {0: 0.5556, 1: 0.2778, 2: 0.1667}),
        (lambda chain: (chain.add_top_k(4), chain.add_typical_p(0.2)), {1: 1.0}),
        (lambda chain: chain.add_top_n_sigma(0.5), {0: 1.0}),
        (lambda chain: chain.add_xtc(1.0, 0.2), {1: 0.5, 2: 0.3, 3: 0.2}),
        (lambda chain: chain.add_logit_bias([(0, -math.inf)]), {1: 0.5, 2: 0.3, 3: 0.2}),
        (lambda chain: chain.add_logit_bias([(3, math.log(6))]), {0: 0.3333, 1: 0.1667, 2: 0.1, 3: 0.4}),
    ],
)
def test_each_sampler_leaves_the_expected_distribution(
    add: Add | None, expected: dict[int, float], pico: Model
) -> None:
    assert distribution(pico, log_probabilities(0.5, 0.25, 0.15, 0.1), add) == pytest.approx(
        expected, abs=2e-3
    )


def test_penalties_count_accepted_tokens(pico: Model) -> None:
    logits = make_logits([2.0, 2.0, 2.0])

    def penalized(accepted: list[int], *penalties: float, last_n: int = 64) -> dict[int, float]:
        return distribution(pico, logits, lambda chain: chain.add_penalties(last_n, *penalties), accepted)

    repeated = penalized([0, 1, 1], 2.0, 0.0, 0.0)
    weights = [math.e, math.e, math.e**2]
    assert [repeated[t] for t in range(3)] == pytest.approx([w / sum(weights) for w in weights], abs=1e-3)
    frequent = penalized([0, 1, 1], 1.0, 0.5, 0.0)
    weights = [math.exp(1.5), math.exp(1.0), math.exp(2.0)]
    assert [frequent[t] for t in range(3)] == pytest.approx([w / sum(weights) for w in weights], abs=1e-3)
    present = penalized([0, 1, 1], 1.0, 0.0, 1.0)
    assert present[0] == pytest.approx(present[1])
    forgotten = penalized([0, 2, 2], 2.0, 0.0, 0.0, last_n=2)
    assert forgotten[0] == pytest.approx(forgotten[1])


@pytest.mark.parametrize(("last_n", "breaks"), [(64, True), (-1, True), (4, False)])
def test_dry_breaks_a_loop_that_it_can_see(last_n: int, breaks: bool, pico: Model) -> None:
    """After 5 6 7 8 … 5 6 7 the token 8 would extend the repetition."""
    left = distribution(
        pico,
        make_logits([0.0] * 10),
        lambda chain: chain.add_dry(2.0, 1.75, 2, last_n, ()),
        [5, 6, 7, 8, 9, 5, 6, 7],
    )
    assert (left[8] < left[4] / 5) == breaks


@pytest.mark.parametrize("version", [1, 2])
def test_mirostat_runs_and_repeats(version: int, pico: Model) -> None:
    logits = np.random.default_rng(0).standard_normal(448).astype(np.float32)
    picked = []
    for _ in range(2):
        with SamplerChain(pico.vocab, 3, N_CTX) as chain:
            chain.add_mirostat(version, 5.0, 0.1)
            picked.append([pick(chain, logits) for _ in range(20)])
    assert picked[0] == picked[1]
    assert len(set(picked[0])) > 2


def test_wrong_logits_and_tokens_are_refused(pico: Model) -> None:
    with drawing(pico) as chain:
        with pytest.raises(LlamaCppError, match=r"logits must be \[448\], not \[10\]"):
            chain.apply(np.zeros(10, np.float32))
        with pytest.raises(LlamaCppError, match="token 448 is outside"):
            chain.accept(448)


def test_a_closed_chain_says_so(pico: Model) -> None:
    chain = SamplerChain(pico.vocab, 1, N_CTX)
    chain.close()
    chain.close()
    with pytest.raises(LlamaCppError, match="closed"):
        chain.add_greedy()
