from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from models.errors import WorkerBusy
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import TextPrompt
from server.supervisor.event_iterator import iterate
from tests.server.scripted_service import ScriptedService, says

REQUEST = Generate(id="r", prompt=TextPrompt("x"), params=SamplingParams())


async def test_all_events_come_in_order() -> None:
    events = [event async for event in iterate(ScriptedService(says("a")).generate("demo", REQUEST))]
    assert [type(event).__name__ for event in events] == ["Started", "Delta", "ChoiceEnd", "Finish"]


async def test_an_error_is_raised() -> None:
    source = ScriptedService(lambda _: [WorkerBusy("full", 1.0)]).generate("demo", REQUEST)
    with pytest.raises(WorkerBusy):
        await anext(iterate(source))


async def test_closing_cancels_the_request() -> None:
    service = ScriptedService(lambda request: [*says("a")(request)[:2], asyncio.Event()])
    async with aclosing(iterate(service.generate("demo", REQUEST))) as events:
        await anext(events)
    assert service.closed == ["r"]
