from __future__ import annotations

import math
from typing import Any

import pytest

from models.errors import RequestError
from server.engine.sampling_params import SamplingParams

N_VOCAB = 448


def test_the_defaults_are_llama_cpps() -> None:
    defaults = SamplingParams()
    assert (defaults.temperature, defaults.top_k, defaults.top_p, defaults.min_p) == (0.8, 40, 0.95, 0.05)
    assert (defaults.repeat_penalty, defaults.repeat_last_n, defaults.typical_p) == (1.0, 64, 1.0)
    defaults.check(N_VOCAB)


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_p": -0.1}, "top_p"),
        ({"min_p": math.nan}, "min_p"),
        ({"top_k": 2**31}, "top_k"),
        ({"top_k": -1}, "top_k"),
        ({"top_n_sigma": -1.0}, "top_n_sigma"),
        ({"repeat_penalty": 0.0}, "repeat_penalty"),
        ({"repeat_penalty": math.inf}, "repeat_penalty"),
        ({"presence_penalty": math.nan}, "presence_penalty"),
        ({"repeat_last_n": -2}, "repeat_last_n"),
        ({"repeat_last_n": 2**40}, "repeat_last_n"),
        ({"dry_penalty_last_n": -2}, "dry_penalty_last_n"),
        ({"mirostat": 3}, "mirostat"),
        ({"seed": -1}, "seed"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"dry_sequence_breakers": ("",)}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ("a\0b",)}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ("x" * 41,)}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ("\ud800",)}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ("x",) * 65}, "dry_sequence_breakers"),
        ({"logit_bias": ((448, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((-1, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((3, math.nan),)}, "logit_bias"),
        ({"logit_bias": ((3, math.inf),)}, "logit_bias"),
    ],
)
def test_bad_parameters_name_themselves(params: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        SamplingParams(**params).check(N_VOCAB)
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize(
    "params",
    [
        {"seed": 2**64 - 1},
        {"dry_penalty_last_n": -1, "dry_sequence_breakers": ("x" * 40,) * 64},
        {"logit_bias": ((0, -math.inf), (447, 100.0))},
        {"temperature": 0.0, "top_k": 0, "top_p": 0.0, "min_p": 1.0, "repeat_penalty": 1e-6},
    ],
)
def test_values_at_the_limits_pass(params: dict[str, Any]) -> None:
    SamplingParams(**params).check(N_VOCAB)


def test_every_number_that_native_code_gets_has_a_range() -> None:
    engines = {"max_tokens", "min_tokens"}  # native code never sees these
    for name, default in zip(
        SamplingParams.__struct_fields__, SamplingParams.__struct_defaults__, strict=True
    ):
        if type(default) in (int, float) and name not in engines:
            params: dict[str, Any] = {name: math.nan}
            with pytest.raises(RequestError, match=name):
                SamplingParams(**params).check(N_VOCAB)
