from __future__ import annotations

import msgspec
import pytest

from server.engine.events import Delta, Event, Failure, PromptPart, PromptScored, TokenLogprob
from server.openai.logprobs import TextLogprobs
from server.openai.steps.echo_logprobs import PART_TOKENS, EchoLogprobs
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


def test_a_long_prompt_comes_in_parts_that_make_the_whole() -> None:
    scores = tuple(TokenLogprob(i, b"word ", None if i == 0 else -1.0) for i in range(2 * PART_TOKENS + 3))
    text = "word " * len(scores)
    middle = len(scores) // 2
    first = PromptScored(id="x", logprobs=scores[:middle], more=True)
    last = PromptScored(id="x", logprobs=scores[middle:])
    got = run(1, STARTED, first, echo(text), last, TOKEN, end(), FINISH)
    parts = [event for event in got if isinstance(event, Delta) and event.is_prompt]
    assert [type(part) for part in parts] == [PromptPart, PromptPart, Delta]
    assert "".join(part.text for part in parts) == text
    assert tuple(score for part in parts for score in part.logprobs) == scores
    assert got[-3:] == [TOKEN, end(), FINISH]
    places, whole = TextLogprobs(), TextLogprobs()
    offsets = [offset for part in [*parts, TOKEN] for offset in places.place(part).text_offset]
    told = [joined(text), TOKEN]
    told[0] = msgspec.structs.replace(told[0], logprobs=scores)
    assert offsets == [offset for part in told for offset in whole.place(part).text_offset]
