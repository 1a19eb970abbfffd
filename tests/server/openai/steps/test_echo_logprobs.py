from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from server.engine.events import Delta, Event, Failure, PromptScored, TokenLogprob
from server.openai.steps.echo_logprobs import with_scores
from tests.server.openai.answers import FINISH, STARTED, delta, end

SCORES = (TokenLogprob(1, b"<s>", None), TokenLogprob(2, b"Hi", -1.5))
SCORED = PromptScored(id="x", logprobs=SCORES)
TOKEN = delta("a", logprobs=(TokenLogprob(3, b"a", -0.5),))


def echo(text: str = "Hi", index: int = 0) -> Delta:
    return delta(text, index, n_tokens=0)


def joined(text: str = "Hi", index: int = 0) -> Delta:
    return delta(text, index, logprobs=SCORES, n_tokens=0)


async def run(n: int, *events: Event) -> list[Event]:
    async def source() -> AsyncGenerator[Event, None]:
        for event in events:
            yield event

    return [event async for event in with_scores(source(), n)]


@pytest.mark.parametrize("first", [[SCORED, echo()], [echo(), SCORED]])
async def test_text_and_scores_come_together(first: list[Event]) -> None:
    got = await run(1, STARTED, *first, TOKEN, end(), FINISH)
    assert got == [STARTED, joined(), TOKEN, end(), FINISH]


async def test_each_choice_begins_with_them() -> None:
    other = delta("b", 1)
    got = await run(2, STARTED, echo(), echo(index=1), SCORED, other, TOKEN, end(1), end(0), FINISH)
    assert got == [STARTED, joined(), joined(index=1), other, TOKEN, end(1), end(0), FINISH]


async def test_nothing_need_be_generated() -> None:
    assert await run(1, STARTED, SCORED, echo(), end(), FINISH) == [STARTED, joined(), end(), FINISH]


async def test_a_prompt_may_have_no_text() -> None:
    got = await run(2, STARTED, SCORED, TOKEN, end(), end(1), FINISH)
    assert got == [STARTED, joined(""), TOKEN, end(), joined("", 1), end(1), FINISH]


async def test_a_choice_may_be_ahead_of_the_one_that_scores() -> None:
    other = delta("b", 1)
    got = await run(2, STARTED, echo(), echo(index=1), other, end(1), SCORED, TOKEN, end(), FINISH)
    assert got == [STARTED, joined(), joined(index=1), other, end(1), TOKEN, end(), FINISH]


async def test_a_choice_may_end_before_anything_is_known() -> None:
    got = await run(2, end(1), STARTED, echo(), echo(index=1), SCORED, end(0), FINISH)
    assert got == [STARTED, joined(), joined(index=1), end(1), end(0), FINISH]


async def test_without_scores_the_text_is_told_all_the_same() -> None:
    assert await run(1, STARTED, echo(), TOKEN, end(), FINISH) == [STARTED, echo(), TOKEN, end(), FINISH]


async def test_a_failure_ends_it() -> None:
    failure = Failure(id="x", kind="server_error", message="m")
    assert await run(1, STARTED, echo(), failure) == [STARTED, failure]


async def test_later_text_without_a_token_is_no_echo() -> None:
    got = await run(1, STARTED, echo(), SCORED, TOKEN, delta("held back", n_tokens=0), end(), FINISH)
    assert got[3] == delta("held back", n_tokens=0)


async def test_closing_closes_the_source() -> None:
    closed = []

    async def source() -> AsyncGenerator[Event, None]:
        try:
            yield STARTED
            yield TOKEN
        finally:
            closed.append(True)

    events = with_scores(source(), 1)
    await anext(events)
    await events.aclose()
    assert closed == [True]
