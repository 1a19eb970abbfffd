from __future__ import annotations

import asyncio
from functools import partial

import msgspec
import pytest

from models.errors import WorkerBusy
from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, PromptScored
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import TextPrompt
from server.openai.errors import RequestFailed
from server.openai.multi_prompt import WINDOW, MultiPrompt
from tests.server.openai.collect import Collector, collect
from tests.server.scripted_service import Script, ScriptedService, Step, says


def requests(count: int, n: int = 1) -> list[Generate]:
    return [
        Generate(id=f"r{i}", prompt=TextPrompt(str(i)), params=SamplingParams(), n=n) for i in range(count)
    ]


async def run(service: ScriptedService, generates: list[Generate]) -> list[Event]:
    return await collect(MultiPrompt(generates, partial(service.generate, "demo")))


async def test_one_request_passes_through() -> None:
    events = await run(ScriptedService(says("a")), requests(1))
    assert [type(event).__name__ for event in events] == ["Started", "Delta", "ChoiceEnd", "Finish"]


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
    assert service.most_running == WINDOW


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


async def test_what_the_listener_raises_ends_all() -> None:
    class Answer(Collector):
        def on_event(self, event: Event) -> None:
            if isinstance(event, Failure):
                raise RequestFailed(event)

    service = ScriptedService(second(Failure(id="r1", kind="server_error", message="m")))
    with pytest.raises(RequestFailed):
        await MultiPrompt(requests(3), partial(service.generate, "demo")).subscribe(Answer())
    assert sorted(service.closed) == ["r0", "r2"]


async def test_nothing_comes_after_a_failure() -> None:
    """Though other prompts' events arrive before they are cancelled."""

    def script(request: Generate) -> list[Step]:
        if request.id == "r1":
            return [0.0, Failure(id="r1", kind="server_error", message="m")]
        delta = Delta(id=request.id, index=0, text="a")
        return [delta if step % 2 else 0.0 for step in range(400)]

    events = await run(ScriptedService(script), requests(3))
    assert [isinstance(event, Failure) for event in events].index(True) == len(events) - 1


async def test_the_next_prompt_waits_until_the_client_has_room() -> None:
    class Slow(Collector):
        room = asyncio.Event()

        async def drained(self) -> None:
            await self.room.wait()

    service, slow = ScriptedService(says("a")), Slow()
    source = MultiPrompt(requests(WINDOW + 8), partial(service.generate, "demo"))
    running = asyncio.create_task(source.subscribe(slow))
    for _ in range(200):
        await asyncio.sleep(0)
    assert len(service.requests) == WINDOW
    slow.room.set()
    await asyncio.wait_for(running, 5)
    assert len(service.requests) == WINDOW + 8


@pytest.mark.parametrize("count", [1, 3])
async def test_cancelling_cancels_every_part(count: int) -> None:
    def script(request: Generate) -> list[Step]:
        return [*says("a")(request)[:2], asyncio.Event()]

    service, collector = ScriptedService(script), Collector()
    source = MultiPrompt(requests(count), partial(service.generate, "demo"))
    running = asyncio.create_task(source.subscribe(collector))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(collector.events) == 2 * count
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(service.closed) == count
    assert service.running == 0
