from __future__ import annotations

import pytest

from models.errors import WorkerDied
from server.engine.events import WORKER_DIED, Delta, Event, Failure, Started
from server.engine.resumption import Beginning
from server.requests.answer_record import AnswerRecord
from server.supervisor.process.failures import AnswerCut, ResumeRefused
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


def started(*, has_replay: bool) -> Started:
    beginning = Beginning(prompt=b"", seed=1, has_replay=has_replay)
    return Started(id="a", prompt_tokens=1, cached_tokens=0, beginning=beginning)


def recorded(*, has_replay: bool = True) -> tuple[RequestStream, Collector, AnswerRecord]:
    """A stream that has begun and had a token, what its listener got, and the record."""
    collector, record = Collector(), AnswerRecord(1, 0.0)
    stream = RequestStream(collector, None, record)
    stream.on_event(started(has_replay=has_replay))
    stream.on_event(Delta(id="a", index=0, text="x", tokens=(7,)))
    return stream, collector, record


async def test_what_can_go_on_is_told_to_nobody() -> None:
    stream, collector, _ = recorded()
    assert stream.cut(WorkerDied("gone"), FAILURE, goes_on=True)
    with pytest.raises(AnswerCut, match="gone") as cut:
        await stream.ended
    assert cut.value.failure is FAILURE
    assert FAILURE not in collector.events


async def test_what_can_not_go_on_ends() -> None:
    for has_replay, goes_on in ((False, True), (True, False)):
        stream, collector, _ = recorded(has_replay=has_replay)
        assert not stream.cut(WorkerDied("gone"), FAILURE, goes_on=goes_on)
        assert collector.events[-1] is FAILURE
        await stream.ended


async def test_a_worker_may_tell_its_end_itself() -> None:
    broken = Failure(id="a", kind="server_error", message="broken", code=WORKER_DIED)
    stream, collector, _ = recorded()
    assert stream.on_event(broken)
    with pytest.raises(AnswerCut, match="broken"):
        await stream.ended
    stream, collector, _ = recorded(has_replay=False)
    assert stream.on_event(broken)
    assert collector.events[-1] is broken


async def test_the_next_worker_may_refuse_and_is_not_heard_twice() -> None:
    _, _, record = recorded()
    busy = Failure(id="a", kind="busy", message="full")
    collector = Collector()
    again = RequestStream(collector, None, record)
    assert again.has_output
    assert again.on_event(busy)
    with pytest.raises(ResumeRefused, match="full"):
        await again.ended
    again = RequestStream(collector, None, record)
    assert not again.on_event(started(has_replay=True))
    assert collector.events == []
    assert again.on_event(busy), "it has begun, so it is the request's own end"
    assert collector.events == [busy]
    await again.ended
