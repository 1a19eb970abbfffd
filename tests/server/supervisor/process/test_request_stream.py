from __future__ import annotations

import pytest

from models.errors import WorkerDied
from server.engine.events import Delta, Event, Failure, Started
from server.supervisor.process.request_stream import RequestStream
from tests.server.openai.collect import Collector

FAILURE = Failure(id="a", kind="server_error", message="m")


def delta(text: str) -> Delta:
    return Delta(id="a", index=0, text=text)


async def test_each_event_is_handed_on_in_the_call_that_brings_it() -> None:
    collector = Collector()
    stream = RequestStream(collector)
    for number, text in enumerate("abc"):
        assert not stream.on_event(delta(text))
        assert len(collector.events) == number + 1
    assert not stream.ended.done()
    assert stream.on_event(FAILURE)
    assert collector.events == [delta("a"), delta("b"), delta("c"), FAILURE]
    await stream.ended


async def test_it_knows_what_the_client_may_have() -> None:
    stream = RequestStream(Collector())
    assert (stream.started, stream.has_output) == (False, False)
    stream.on_event(Started(id="a", prompt_tokens=1, cached_tokens=0))
    assert (stream.started, stream.has_output) == (True, False)
    stream.on_event(delta("a"))
    assert stream.has_output


async def test_an_error_of_the_listener_is_its_requests_end_and_nobody_elses() -> None:
    class Broken(Collector):
        def on_event(self, event: Event) -> None:
            super().on_event(event)
            raise ValueError("no")

    broken = Broken()
    stream = RequestStream(broken)
    stream.on_event(delta("a"))
    stream.on_event(delta("b"))
    assert stream.on_event(FAILURE)
    assert broken.events == [delta("a")]
    with pytest.raises(ValueError, match="no"):
        await stream.ended


async def test_a_death_before_the_start_is_raised() -> None:
    stream = RequestStream(Collector())
    stream.refuse(WorkerDied("gone"))
    with pytest.raises(WorkerDied, match="gone"):
        await stream.ended
