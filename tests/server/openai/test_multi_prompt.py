from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import msgspec
import pytest

from models.errors import WorkerBusy
from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, PromptScored
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate, TextPrompt
from server.openai import multi_prompt
from tests.server.scripted_service import Script, ScriptedService, Step, says


def requests(count: int, n: int = 1) -> list[Generate]:
    return [
        Generate(id=f"r{i}", prompt=TextPrompt(str(i)), params=SamplingParams(), n=n) for i in range(count)
    ]


async def run(service: ScriptedService, generates: list[Generate]) -> list[Event]:
    return [event async for event in multi_prompt.run(generates, partial(service.generate, "demo"))]


async def test_one_request_passes_through() -> None:
    events = await run(ScriptedService(says("a")), requests(1))
    assert [type(event).__name__ for event in events] == ["Started", "Delta", "ChoiceEnd", "Finish"]


async def test_one_requests_generator_is_given_as_it_is() -> None:
    """It may be one that can be listened to."""
    events = ScriptedService().generate("demo", requests(1)[0])
    assert multi_prompt.run(requests(1), lambda _: events) is events


async def test_indexes_and_sums() -> None:
    events = await run(ScriptedService(says("a", "b")), requests(3, n=2))
    texts = ["" for _ in range(6)]
    for event in events:
        if isinstance(event, Delta):
            texts[event.index] += event.text
    assert texts == ["ab"] * 6
    assert sorted(event.index for event in events if isinstance(event, ChoiceEnd)) == list(range(6))
    (finish,) = [event for event in events if isinstance(event, Finish)]
    assert events[-1] is finish
    assert finish.usage.prompt_tokens == 21
    assert finish.usage.completion_tokens == 12
    assert finish.usage.cached_tokens == 9
    assert finish.timings.predicted_ms == 30.0
    assert finish.timings.queue_ms == 0.5


async def test_prompts_scores_begin_their_own_choices() -> None:
    generates = [
        Generate(
            id=f"r{i}",
            prompt=TextPrompt(str(i)),
            params=SamplingParams(),
            n=2,
            n_probs=0,
            echo=True,
            score_prompt=True,
        )
        for i in range(2)
    ]
    for some in (generates, generates[:1]):
        events = await run(ScriptedService(says("a")), some)
        first: dict[int, Delta] = {}
        for event in events:
            assert not isinstance(event, PromptScored)
            if isinstance(event, Delta):
                first.setdefault(event.index, event)
        assert sorted(first) == list(range(2 * len(some)))
        for event in first.values():
            assert (event.text, event.n_tokens) == ("Hi you", 0)
            assert [entry.logprob for entry in event.logprobs] == [None, -1.5, -2.5]


async def test_drafted_tokens_are_summed() -> None:
    def script(request: Generate) -> list[Step]:
        *steps, last = says("a")(request)
        assert isinstance(last, Finish)
        timings = msgspec.structs.replace(last.timings, draft_n=8, draft_n_accepted=5)
        return [*steps, msgspec.structs.replace(last, timings=timings)]

    events = await run(ScriptedService(script), requests(3))
    assert isinstance(events[-1], Finish)
    assert (events[-1].timings.draft_n, events[-1].timings.draft_n_accepted) == (24, 15)


async def test_the_window_bounds_how_many_run() -> None:
    def slow(request: Generate) -> list[Step]:
        return [0.001, *says("a")(request)]

    service = ScriptedService(slow)
    events = await run(service, requests(100))
    assert len([event for event in events if isinstance(event, Delta)]) == 100
    assert service.most_running == multi_prompt.WINDOW


def second(step: Step) -> Script:
    """The request r1 does `step`; the others wait for ever."""

    def script(request: Generate) -> list[Step]:
        return [step] if request.id == "r1" else [*says("a")(request)[:2], asyncio.Event()]

    return script


async def test_a_failure_ends_all() -> None:
    service = ScriptedService(second(Failure(id="r1", kind="server_error", message="m")))
    events = await run(service, requests(3))
    assert isinstance(events[-1], Failure)
    assert sorted(service.closed) == ["r0", "r2"]


async def test_an_error_ends_all() -> None:
    service = ScriptedService(second(WorkerBusy("m", 1.0)))
    with pytest.raises(WorkerBusy):
        await run(service, requests(3))
    assert sorted(service.closed) == ["r0", "r2"]


@pytest.mark.parametrize("count", [1, 3])
async def test_closing_closes_every_part(count: int) -> None:
    def script(request: Generate) -> list[Step]:
        return [*says("a")(request)[:2], asyncio.Event()]

    service = ScriptedService(script)
    async with aclosing(multi_prompt.run(requests(count), partial(service.generate, "demo"))) as events:
        for _ in range(2 * count):
            await anext(events)
    assert len(service.closed) == count
    assert service.running == 0


async def test_an_iterator_without_aclose_will_do() -> None:
    class Plain:
        def __init__(self, events: list[Event]) -> None:
            self._events = iter(events)

        def __aiter__(self) -> AsyncIterator[Event]:
            return self

        async def __anext__(self) -> Event:
            try:
                return next(self._events)
            except StopIteration:
                raise StopAsyncIteration from None

    def submit(request: Generate) -> AsyncIterator[Event]:
        return Plain([Delta(id=request.id, index=0, text="a")])

    assert len([event async for event in multi_prompt.run(requests(1), submit)]) == 1
