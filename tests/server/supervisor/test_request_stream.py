from __future__ import annotations

import asyncio

import pytest

from models.errors import WorkerDied
from server.engine.events import Delta, Event
from server.supervisor.request_stream import RequestStream


def delta(text: str) -> Delta:
    return Delta(id="a", index=0, text=text)


async def test_events_are_kept_until_taken_and_waited_for() -> None:
    stream = RequestStream()
    stream.put(delta("a"))
    stream.put(delta("b"))
    assert [await stream.next(), await stream.next()] == [delta("a"), delta("b")]
    waiting = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.put(delta("c"))
    stream.put(delta("d"))
    assert await waiting == delta("c")
    assert await stream.next() == delta("d")


async def test_a_reader_that_was_cancelled_loses_nothing() -> None:
    stream = RequestStream()
    waiting = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    waiting.cancel()
    stream.put(delta("a"))
    assert await stream.next() == delta("a")


async def test_a_death_is_raised() -> None:
    stream = RequestStream()
    stream.put(WorkerDied("gone"))
    with pytest.raises(WorkerDied, match="gone"):
        await stream.next()


async def test_a_listener_gets_what_was_kept_first_and_the_rest_at_once() -> None:
    stream = RequestStream()
    heard: list[Event] = []
    for text in "abc":
        stream.put(delta(text))
    await stream.next()
    stream.started = True
    stream.listen(heard.append)
    assert heard == [delta("b"), delta("c")]
    stream.put(delta("d"))
    assert heard[2:] == [delta("d")]
