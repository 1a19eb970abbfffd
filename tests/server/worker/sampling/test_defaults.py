"""Who decides how a request is sampled: its client, then the model's file, then llama.cpp."""

from __future__ import annotations

import math

import pytest

from server.engine.sampling_params import SamplingParams
from server.file_sampling import sampling_defaults
from server.ipc.messages import Generate
from server.ipc.prompts import TextPrompt
from server.worker.sampling.defaults import with_defaults


def generate(temperature: float | None = None) -> Generate:
    if temperature is None:
        return Generate(id="1", prompt=TextPrompt("x"), params=SamplingParams())
    params = SamplingParams(temperature=temperature)
    return Generate(id="1", prompt=TextPrompt("x"), params=params, given=("temperature",))


def test_the_file_fills_what_the_client_left_open() -> None:
    defaults = sampling_defaults({"general.sampling.temp": 0.3, "general.sampling.top_k": 7})
    assert with_defaults(generate(), defaults) == SamplingParams(temperature=0.3, top_k=7)


def test_the_client_wins_even_with_llama_cpps_own_value() -> None:
    defaults = sampling_defaults({"general.sampling.temp": 0.3})
    assert with_defaults(generate(temperature=0.8), defaults).temperature == 0.8


def test_a_file_that_says_nothing_changes_nothing() -> None:
    assert with_defaults(generate(), sampling_defaults({"general.name": "x"})) == SamplingParams()


@pytest.mark.parametrize(
    ("key", "value"),
    [("temp", math.nan), ("temp", -1.0), ("top_p", 1.5), ("top_k", "many"), ("penalty_repeat", 0.0)],
)
def test_nonsense_in_the_file_is_left_out(key: str, value: object, caplog: pytest.LogCaptureFixture) -> None:
    assert sampling_defaults({f"general.sampling.{key}": value}) == {}
    assert key in caplog.text
