from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import LlamaCppError, RequestError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from models.llamacpp.sampler import Sampler, SamplerParams

pytestmark = pytest.mark.model

PROMPT = [1, 404, 413, 271, 358, 385, 368, 371]
# No truncation, no temperature: the chain is the softmax.
PLAIN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 1}


def make_logits(values: list[float], n_vocab: int = 448) -> npt.NDArray[np.float32]:
    """Tokens 0 … have these logits; the rest is impossible."""
    logits = np.full(n_vocab, -math.inf, np.float32)
    logits[: len(values)] = values
    return logits


def log_probabilities(*probabilities: float) -> npt.NDArray[np.float32]:
    return make_logits([math.log(p) for p in probabilities])


def distribution(
    pico: Model, logits: npt.NDArray[np.float32], accepted: list[int] | None = None, **params: Any
) -> dict[int, float]:
    """What the chain leaves of `logits`: probability by token, impossible ones left out."""
    with Sampler.chain(pico, SamplerParams(**{**PLAIN, **params})) as sampler:
        for token in accepted or []:
            sampler.accept(token)
        left = sampler.apply(logits)
    return {int(token): float(p) for token, p in zip(left.ids, left.probabilities, strict=True) if p > 0}


def test_the_defaults_are_llama_cpps() -> None:
    defaults = SamplerParams()
    assert (defaults.temperature, defaults.top_k, defaults.top_p, defaults.min_p) == (0.8, 40, 0.95, 0.05)
    assert (defaults.repeat_penalty, defaults.repeat_last_n, defaults.typical_p) == (1.0, 64, 1.0)


def test_the_same_seed_picks_the_same_tokens(pico: Model) -> None:
    logits = np.random.default_rng(0).standard_normal(448).astype(np.float32)

    def draw(seed: int) -> list[int]:
        with Sampler.chain(pico, SamplerParams(seed=seed)) as sampler:
            return [sampler.sample_logits(logits) for _ in range(20)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert len(set(draw(7))) > 3


def test_no_seed_draws_one(pico: Model) -> None:
    with Sampler.chain(pico, SamplerParams()) as one, Sampler.chain(pico, SamplerParams()) as other:
        assert one.seed != other.seed


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32, 2**64 - 1])
def test_every_seed_is_repeatable(seed: int, pico: Model) -> None:
    """0xFFFFFFFF means "random" to llama.cpp; it must not here."""
    logits = np.random.default_rng(0).standard_normal(448).astype(np.float32)
    picked = []
    for _ in range(2):
        with Sampler.chain(pico, SamplerParams(seed=seed)) as sampler:
            picked.append([sampler.sample_logits(logits) for _ in range(20)])
    assert picked[0] == picked[1]


def test_greedy_is_the_argmax(pico: Model) -> None:
    random = np.random.default_rng(0)
    with Sampler.chain(pico, SamplerParams(temperature=0)) as sampler:
        for _ in range(20):
            logits = random.standard_normal(448).astype(np.float32)
            assert sampler.sample_logits(logits) == int(logits.argmax())


def test_sampling_a_context_is_sampling_its_logits(context: Context, pico: Model) -> None:
    batch = TokenBatch(64)
    first = batch.add_many(PROMPT, 0, 0, output_last=True)
    second = batch.add_many(PROMPT[:4], 0, 1, output_last=True)
    context.decode(batch)
    for row in (first, second):
        params = SamplerParams(seed=5, repeat_penalty=1.3)
        with Sampler.chain(pico, params) as one, Sampler.chain(pico.vocab, params) as other:
            for _ in range(10):
                assert one.sample(context, row) == other.sample_logits(context.logits_row(row))
    with Sampler.chain(pico, SamplerParams()) as sampler, pytest.raises(LlamaCppError, match="has no logits"):
        sampler.sample(context, 0)


def test_temperature_sharpens(pico: Model) -> None:
    assert distribution(pico, make_logits([1, 0])) == pytest.approx({0: 0.7311, 1: 0.2689}, abs=1e-3)
    assert distribution(pico, make_logits([1, 0]), temperature=0.5) == pytest.approx(
        {0: 0.8808, 1: 0.1192}, abs=1e-3
    )


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {0: 0.5, 1: 0.25, 2: 0.15, 3: 0.1}),
        ({"top_k": 2}, {0: 0.6667, 1: 0.3333}),
        ({"top_p": 0.7}, {0: 0.6667, 1: 0.3333}),
        ({"min_p": 0.25}, {0: 0.5556, 1: 0.2778, 2: 0.1667}),
        ({"typical_p": 0.2, "top_k": 4}, {1: 1.0}),
        ({"top_n_sigma": 0.5}, {0: 1.0}),
        ({"xtc_probability": 1.0, "xtc_threshold": 0.2}, {1: 0.5, 2: 0.3, 3: 0.2}),
        ({"logit_bias": ((0, -math.inf),)}, {1: 0.5, 2: 0.3, 3: 0.2}),
        ({"logit_bias": ((3, math.log(6)),)}, {0: 0.3333, 1: 0.1667, 2: 0.1, 3: 0.4}),
    ],
)
def test_each_sampler_leaves_the_expected_distribution(
    params: dict[str, Any], expected: dict[int, float], pico: Model
) -> None:
    assert distribution(pico, log_probabilities(0.5, 0.25, 0.15, 0.1), **params) == pytest.approx(
        expected, abs=2e-3
    )


def test_penalties_count_accepted_tokens(pico: Model) -> None:
    logits = make_logits([2.0, 2.0, 2.0])
    repeated = distribution(pico, logits, [0, 1, 1], repeat_penalty=2.0)
    weights = [math.e, math.e, math.e**2]
    assert [repeated[t] for t in range(3)] == pytest.approx([w / sum(weights) for w in weights], abs=1e-3)
    frequent = distribution(pico, logits, [0, 1, 1], frequency_penalty=0.5)
    weights = [math.exp(1.5), math.exp(1.0), math.exp(2.0)]
    assert [frequent[t] for t in range(3)] == pytest.approx([w / sum(weights) for w in weights], abs=1e-3)
    present = distribution(pico, logits, [0, 1, 1], presence_penalty=1.0)
    assert present[0] == pytest.approx(present[1])
    forgotten = distribution(pico, logits, [0, 2, 2], repeat_penalty=2.0, repeat_last_n=2)
    assert forgotten[0] == pytest.approx(forgotten[1])


def test_dry_breaks_a_loop(pico: Model) -> None:
    """After 5 6 7 8 … 5 6 7 the token 8 would extend the repetition."""
    logits = make_logits([0.0] * 10)
    left = distribution(pico, logits, [5, 6, 7, 8, 9, 5, 6, 7], dry_multiplier=2.0, dry_sequence_breakers=())
    assert left[8] < left[4] / 5


@pytest.mark.parametrize("mirostat", [1, 2])
def test_mirostat_runs_and_repeats(mirostat: int, pico: Model) -> None:
    logits = np.random.default_rng(0).standard_normal(448).astype(np.float32)
    picked = []
    for _ in range(2):
        with Sampler.chain(pico, SamplerParams(mirostat=mirostat, seed=3)) as sampler:
            picked.append([sampler.sample_logits(logits) for _ in range(20)])
    assert picked[0] == picked[1]
    assert len(set(picked[0])) > 2


def test_a_clone_goes_on_from_the_same_state(pico: Model) -> None:
    logits = np.random.default_rng(0).standard_normal(448).astype(np.float32)
    with Sampler.chain(pico, SamplerParams(seed=3, repeat_penalty=1.5)) as sampler:
        for _ in range(5):
            sampler.sample_logits(logits)
        with sampler.clone() as other:
            assert [sampler.sample_logits(logits) for _ in range(10)] == [
                other.sample_logits(logits) for _ in range(10)
            ]


def test_reset_starts_over(pico: Model) -> None:
    logits = np.random.default_rng(0).standard_normal(448).astype(np.float32)
    with Sampler.chain(pico, SamplerParams(seed=3, repeat_penalty=1.5)) as sampler:
        first = [sampler.sample_logits(logits) for _ in range(10)]
        sampler.reset()
        assert [sampler.sample_logits(logits) for _ in range(10)] == first


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_p": -0.1}, "top_p"),
        ({"min_p": math.nan}, "min_p"),
        ({"top_k": 2**31}, "top_k"),
        ({"repeat_penalty": 0.0}, "repeat_penalty"),
        ({"repeat_penalty": math.inf}, "repeat_penalty"),
        ({"presence_penalty": math.nan}, "presence_penalty"),
        ({"repeat_last_n": -1}, "repeat_last_n"),
        ({"repeat_last_n": 2**40}, "repeat_last_n"),
        ({"mirostat": 3}, "mirostat"),
        ({"seed": -1}, "seed"),
        ({"dry_sequence_breakers": ("",)}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ("a\0b",)}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ("x" * 41,)}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ("\ud800",)}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ("x",) * 65}, "dry_sequence_breakers"),
        ({"logit_bias": ((448, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((-1, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((3, math.nan),)}, "logit_bias"),
    ],
)
def test_bad_parameters_name_themselves(params: dict[str, Any], param: str, pico: Model) -> None:
    with pytest.raises(RequestError) as caught:
        Sampler.chain(pico, SamplerParams(**params))
    assert caught.value.param == param
    assert param in caught.value.message


def test_wrong_logits_and_tokens_are_refused(pico: Model) -> None:
    with Sampler.chain(pico, SamplerParams()) as sampler:
        with pytest.raises(LlamaCppError, match=r"logits must be \[448\], not \[10\]"):
            sampler.apply(np.zeros(10, np.float32))
        with pytest.raises(LlamaCppError, match="token 448 is outside"):
            sampler.accept(448)


def test_a_closed_sampler_says_so(pico: Model) -> None:
    sampler = Sampler.chain(pico, SamplerParams())
    sampler.close()
    sampler.close()
    with pytest.raises(LlamaCppError, match="closed"):
        sampler.reset()


@pytest.mark.parametrize(
    ("params", "is_argmax", "needs_prompt"),
    [
        ({"temperature": 0}, True, False),
        ({"temperature": 0, "repeat_penalty": 1.1}, False, True),
        ({"temperature": 0, "repeat_penalty": 1.1, "repeat_last_n": 0}, True, False),
        ({"temperature": 0, "logit_bias": ((1, 1.0),)}, False, False),
        ({"dry_multiplier": 0.8}, False, True),
        ({}, False, False),
    ],
)
def test_what_a_request_needs(params: dict[str, Any], is_argmax: bool, needs_prompt: bool) -> None:
    found = SamplerParams(**params)
    assert (found.is_argmax, found.needs_prompt) == (is_argmax, needs_prompt)
