"""Each sampler has one place, and every parameter that a client may send reaches one."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from server.engine.sampling_params import SamplingParams
from server.openai.requests.schemas import ModelRequest, SamplingRequest
from server.worker.sampling.chain import STEPS, active_steps, make_chain
from server.worker.sampling.steps.step import Step
from tests.server.worker.sampling.chains import N_CTX, PROMPT, SizedVocab, pick

OTHER_NAMES = {"max_completion_tokens", "n_predict"}
"""A client's other names of max_tokens."""
NO_SAMPLERS = {"seed", "max_tokens", "min_tokens", "stop", "ignore_eos"}
"""The seed serves whichever samplers draw; the engine ends the answer by the rest."""

ACTIVE: dict[str, dict[str, Any]] = {
    "LogitBias": {"logit_bias": ((5, 1.0),)},
    "Mirostat": {"mirostat": 2},
    "Penalties": {"repeat_penalty": 1.1},
    "Dry": {"dry_multiplier": 0.8},
    "Greedy": {"temperature": 0.0},
    "TopNSigma": {"top_n_sigma": 1.0},
    "TopK": {"top_k": 5},
    "TypicalP": {"typical_p": 0.9},
    "TopP": {"top_p": 0.9},
    "MinP": {"min_p": 0.1},
    "Xtc": {"xtc_probability": 0.5},
    "Temperature": {"temperature": 0.5},
    "DynamicTemperature": {"dynatemp_range": 0.5},
}
"""Parameters that switch a sampler on."""
OFF: dict[str, Any] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
"""Only the temperature and the draw are left."""


def names(steps: list[Step]) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_every_parameter_of_a_request_belongs_to_one_sampler() -> None:
    sent = SamplingRequest.model_fields.keys() - ModelRequest.model_fields.keys() - OTHER_NAMES
    assert sent == set(SamplingParams.__struct_fields__)
    owners = Counter(field for step in STEPS for field in step.fields)
    assert owners == Counter(sent - NO_SAMPLERS)


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_sampler_is_off_until_its_own_parameters_switch_it_on(step: type[Step]) -> None:
    off = SamplingParams(**OFF)
    assert names(active_steps(off)) == ["Temperature", "Distribution"]
    on = ACTIVE[step.__name__]
    assert step.__name__ in names(active_steps(SamplingParams(**(OFF | on))))
    assert on.keys() <= {*step.fields, "temperature"}


def test_the_order_is_llama_cpps() -> None:
    params: dict[str, Any] = {}
    for step in STEPS:
        if not step.picks:
            params |= ACTIVE[step.__name__]
    assert names(active_steps(SamplingParams(**params))) == [
        "LogitBias",
        "Penalties",
        "Dry",
        "TopNSigma",
        "TopK",
        "TypicalP",
        "TopP",
        "MinP",
        "Xtc",
        "DynamicTemperature",
        "Distribution",
    ]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["TopK", "TopP", "MinP", "Temperature", "Distribution"]),
        ({"temperature": 0.0, "typical_p": 0.5}, ["Greedy"]),
        ({"temperature": 0.0, "dry_multiplier": 1.0, "repeat_penalty": 2.0}, ["Penalties", "Dry", "Greedy"]),
        ({"mirostat": 1, "repeat_penalty": 2.0, "logit_bias": ((1, 1.0),)}, ["LogitBias", "Mirostat"]),
        ({"repeat_penalty": 2.0, "repeat_last_n": 0, **OFF}, ["Temperature", "Distribution"]),
        ({"dry_multiplier": 2.0, "dry_penalty_last_n": 0, **OFF}, ["Temperature", "Distribution"]),
        ({"dry_multiplier": 2.0, "dry_base": 0.5, **OFF}, ["Temperature", "Distribution"]),
    ],
)
def test_a_list_ends_where_a_token_is_picked(params: dict[str, Any], expected: list[str]) -> None:
    assert names(active_steps(SamplingParams(**params))) == expected


@pytest.mark.model
@pytest.mark.parametrize(("last_n", "remembers"), [(3, True), (2, False), (-1, True)])
def test_a_chain_has_accepted_as_much_of_the_prompt_as_it_looks_at(last_n: int, remembers: bool) -> None:
    """The token is the third from the prompt's end."""
    vocab = SizedVocab(40)
    token = PROMPT[-3]
    logits = np.full(vocab.n_tokens, -math.inf, np.float32)
    logits[[token, 0]] = [1.0, 0.9]
    params = SamplingParams(temperature=0.0, presence_penalty=0.5, repeat_last_n=last_n)
    with make_chain(vocab, active_steps(params), 0, N_CTX, PROMPT) as chain:
        assert pick(chain, logits) == (0 if remembers else token)
