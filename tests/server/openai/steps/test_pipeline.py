from __future__ import annotations

import pytest

from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate, TextPrompt
from server.openai.steps.echo_logprobs import EchoLogprobs
from server.openai.steps.pipeline import with_steps
from tests.server.openai.collect import Collector


@pytest.mark.parametrize("scored", [False, True])
def test_a_request_passes_only_the_steps_that_it_needs(scored: bool) -> None:
    request = Generate(id="r", prompt=TextPrompt("x"), params=SamplingParams(), score_prompt=scored)
    collector = Collector()
    listener = with_steps(request, collector)
    assert isinstance(listener, EchoLogprobs) == scored
    assert (listener is collector) == (not scored)
