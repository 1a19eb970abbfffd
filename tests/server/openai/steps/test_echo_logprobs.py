from __future__ import annotations

import pytest

from server.engine.events import Delta, Event, Failure, PromptScored, TokenLogprob
from server.openai.steps.echo_logprobs import EchoLogprobs
from tests.server.openai.answers import FINISH, STARTED, delta, end
from tests.server.openai.collect import Collector

SCORES = (TokenLogprob(1, b"<s>", None), TokenLogprob(2, b"Hi", -1.5))
SCORED = PromptScored(id="x", logprobs=SCORES)
TOKEN = delta("a", logprobs=(TokenLogprob(3, b"a", -0.5),))


def echo(text: str = "Hi", index: int = 0) -> Delta:
    return delta(text, index, is_prompt=True)


def joined(text: str = "Hi", index: int = 0) -> Delta:
    return delta(text, index, logprobs=SCORES, is_prompt=True)


def run(n: int, *events: Event) -> list[Event]:
    collector = Collector()
    step = EchoLogprobs(collector, n)
    for event in events:
        step.on_event(event)
    return collector.events


@pytest.mark.parametrize("first", [[SCORED, echo()], [echo(), SCORED]])
def test_text_and_scores_come_together(first: list[Event]) -> None:
    got = run(1, STARTED, *first, TOKEN, end(), FINISH)
    assert got == [STARTED, joined(), TOKEN, end(), FINISH]


def test_each_choice_begins_with_them() -> None:
    other = delta("b", 1)
    got = run(2, STARTED, echo(), echo(index=1), SCORED, other, TOKEN, end(1), end(0), FINISH)
    assert got == [STARTED, joined(), joined(index=1), other, TOKEN, end(1), end(0), FINISH]


def test_nothing_need_be_generated() -> None:
    assert run(1, STARTED, SCORED, echo(), end(), FINISH) == [STARTED, joined(), end(), FINISH]


def test_a_prompt_may_have_no_text() -> None:
    got = run(2, STARTED, SCORED, TOKEN, end(), end(1), FINISH)
    assert got == [STARTED, joined(""), TOKEN, end(), joined("", 1), end(1), FINISH]


def test_a_choice_may_be_ahead_of_the_one_that_scores() -> None:
    other = delta("b", 1)
    got = run(2, STARTED, echo(), echo(index=1), other, end(1), SCORED, TOKEN, end(), FINISH)
    assert got == [STARTED, joined(), joined(index=1), other, end(1), TOKEN, end(), FINISH]


def test_a_choice_may_end_before_anything_is_known() -> None:
    got = run(2, end(1), STARTED, echo(), echo(index=1), SCORED, end(0), FINISH)
    assert got == [STARTED, joined(), joined(index=1), end(1), end(0), FINISH]


def test_without_scores_the_text_is_told_all_the_same() -> None:
    assert run(1, STARTED, echo(), TOKEN, end(), FINISH) == [STARTED, echo(), TOKEN, end(), FINISH]


def test_a_failure_ends_it() -> None:
    failure = Failure(id="x", kind="server_error", message="m")
    assert run(1, STARTED, echo(), failure) == [STARTED, failure]


def test_later_text_without_a_token_is_no_echo() -> None:
    got = run(1, STARTED, echo(), SCORED, TOKEN, delta("held back", n_tokens=0), end(), FINISH)
    assert got[3] == delta("held back", n_tokens=0)


def test_events_pass_in_the_call_that_brings_them() -> None:
    collector = Collector()
    step = EchoLogprobs(collector, 1)
    step.on_event(STARTED)
    step.on_event(SCORED)
    assert collector.events == [STARTED]
    step.on_event(echo())
    assert collector.events == [STARTED, joined()]


async def test_room_is_the_next_listeners_to_give() -> None:
    class Full(Collector):
        async def drained(self) -> None:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await EchoLogprobs(Full(), 1).drained()
