from __future__ import annotations

import pytest

from server.engine.events import Delta, Event, PromptScored, TokenLogprob
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import TextPrompt
from server.openai.steps.pipeline import run
from server.supervisor.protocol import EventListener
from tests.server.openai.answers import FINISH, STARTED, delta, end
from tests.server.openai.collect import Collector

SCORES = PromptScored(id="x", logprobs=(TokenLogprob(1, b"a", None),))
ECHO = delta("a", is_prompt=True)
EVENTS: list[Event] = [STARTED, SCORES, ECHO, delta("b"), end(), FINISH]


class Source:
    """An `EventSource` of all events at once; remembers who listened to it."""

    async def subscribe(self, listener: EventListener) -> None:
        self.listener = listener
        for event in EVENTS:
            listener.on_event(event)


@pytest.mark.parametrize("scored", [False, True])
async def test_a_request_passes_only_the_steps_that_it_needs(scored: bool) -> None:
    request = Generate(id="r", prompt=TextPrompt("x"), params=SamplingParams(), score_prompt=scored)
    source, collector = Source(), Collector()
    await run(source, request, collector)
    assert (source.listener is collector) == (not scored)
    with_scores = delta("a", is_prompt=True, logprobs=SCORES.logprobs)
    assert collector.events == ([STARTED, with_scores, *EVENTS[3:]] if scored else EVENTS)
    assert all(type(event) is Delta for event in collector.events[-4:-2])
