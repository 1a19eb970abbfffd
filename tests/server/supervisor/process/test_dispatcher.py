from __future__ import annotations

import asyncio
from typing import Any

import pytest

from models.errors import InvalidGGUF, RequestError, WorkerDied
from server.engine.events import Delta, Event, Failure, Finish, Started, Timings, Usage
from server.ipc.frames import HEADER, FrameError, decode_reply, encode_frame
from server.ipc.messages import LoadFailed, Loading, Ready, StepEvents, TokenizeReply
from server.ipc.model_spec import ModelInfo
from server.metrics.figures import FigureBook
from server.metrics.origin import Origin
from server.metrics.request_meter import RequestMeter
from server.requests.answer_record import AnswerRecord
from server.supervisor.process.dispatcher import Dispatcher, OnProgress
from server.supervisor.process.exit_report import ExitReport
from tests.server.openai.collect import Collector

KILLED = ExitReport(returncode=-9)
INFO = ModelInfo(
    n_vocab=1,
    n_ctx=1,
    n_ctx_train=1,
    n_embd=1,
    n_params=1,
    size_bytes=1,
    n_parallel=1,
    n_gpu_layers=0,
    description="",
    ftype="F32",
    prompt_format="template",
)


def delta(request_id: str, text: str = "x") -> Delta:
    return Delta(id=request_id, index=0, text=text)


def finish(request_id: str) -> Finish:
    timings = Timings(queue_ms=0.0, prompt_n=1, prompt_ms=1.0, predicted_n=1, predicted_ms=1.0)
    return Finish(id=request_id, usage=Usage(prompt_tokens=1, completion_tokens=1), timings=timings)


def make(on_progress: OnProgress = lambda _: None) -> Dispatcher:
    return Dispatcher("one", on_progress)


async def waiting(future: Any) -> Any:
    return await asyncio.wait_for(asyncio.ensure_future(future), 1.0)


async def test_events_go_to_their_stream_until_the_last() -> None:
    dispatcher = make()
    first, second = Collector(), Collector()
    dispatcher.open("a", first)
    dispatcher.open("b", second)
    dispatcher.on_reply(StepEvents([delta("a", "1"), delta("b", "2"), delta("gone"), finish("a")]))
    assert first.events == [delta("a", "1"), finish("a")]
    assert second.events == [delta("b", "2")]
    assert dispatcher.n_streams == 1
    assert (dispatcher.close("a"), dispatcher.close("b")) == (False, True)
    dispatcher.on_reply(StepEvents([delta("b")]))  # cancelled: nobody gets it
    assert len(second.events) == 1


class Link(Collector):
    """A listener that takes frames, too."""

    def __init__(self) -> None:
        super().__init__()
        self.n_frames = 0

    def on_frame(self, payload: bytes) -> None:
        self.n_frames += 1
        step = decode_reply(payload)
        assert isinstance(step, StepEvents)
        for event in step.events:
            self.on_event(event)


def step_of(*events: Event) -> bytes:
    return encode_frame(StepEvents(list(events)))[HEADER.size :]


def record_for(n_workers: int) -> AnswerRecord:
    return AnswerRecord(1, 0.0, n_workers)


async def test_whole_frames_go_on_unread_once_an_answer_has_begun() -> None:
    dispatcher, link = make(), Link()
    for name in ("a", "b"):
        dispatcher.open(name, link, record=record_for(1))
    started = Started(id="a", prompt_tokens=1, cached_tokens=0)
    dispatcher.on_frame(step_of(started, delta("a", "1")))
    dispatcher.on_frame(step_of(delta("a", "2"), delta("b", "3")))  # the first of `b`
    assert (link.n_frames, dispatcher.n_started) == (0, 2)
    dispatcher.on_frame(step_of(delta("a", "4"), delta("b", "5"), delta("a", "6")))
    assert (link.n_frames, dispatcher.n_messages) == (1, 3)
    dispatcher.on_frame(step_of(delta("a", "7"), finish("b")))
    dispatcher.on_frame(step_of(delta("a", "8"), delta("b", "gone")))
    dispatcher.on_frame(step_of(delta("a", "9")))
    assert link.n_frames == 2
    texts = [event.text for event in link.events if isinstance(event, Delta)]
    assert texts == [*"123456789"]
    with pytest.raises(FrameError):
        dispatcher.on_frame(step_of(delta("a"))[:-1])


async def test_a_frame_for_several_links_goes_to_each_in_part() -> None:
    dispatcher, one, two = make(), Link(), Link()
    for name, link in (("a", one), ("b", two), ("c", one)):
        dispatcher.open(name, link, record=record_for(1))
        dispatcher.on_frame(step_of(delta(name, "1")))
    dispatcher.on_frame(step_of(delta("a", "2"), delta("b", "3"), delta("c", "4")))
    assert (one.n_frames, two.n_frames) == (1, 1)
    assert one.events == [delta("a", "1"), delta("c", "1"), delta("a", "2"), delta("c", "4")]
    assert two.events == [delta("b", "1"), delta("b", "3")]


async def test_what_is_counted_or_may_go_on_is_read() -> None:
    """A stream with a meter, or with a record for a next worker, gets each event, whoever listens."""
    meter = RequestMeter(FigureBook(), Origin())
    meter.assign("demo", None)
    for given in ({"record": record_for(2)}, {"meter": meter}):
        dispatcher, link = make(), Link()
        dispatcher.open("a", link, **given)
        for text in "123":
            dispatcher.on_frame(step_of(delta("a", text)))
        assert (link.n_frames, len(link.events)) == (0, 3)


async def test_ids_are_unique_while_they_run() -> None:
    dispatcher = make()
    dispatcher.open("a", Collector())
    with pytest.raises(RequestError, match="unique"):
        dispatcher.check_new("a")
    dispatcher.on_reply(StepEvents([finish("a")]))
    dispatcher.check_new("a")


async def test_a_failure_is_for_its_request_or_its_call() -> None:
    dispatcher = make()
    collector, call = Collector(), dispatcher.expect("c")
    dispatcher.open("a", collector)
    for one in ("a", "c"):
        dispatcher.on_reply(Failure(id=one, kind="busy", message="full"))
    assert [event.id for event in collector.events] == ["a"]
    assert isinstance(await waiting(call), Failure)
    dispatcher.forget("c")
    dispatcher.on_reply(TokenizeReply("c", [1]))  # too late: nobody minds


async def test_loading() -> None:
    heard: list[float] = []
    dispatcher = make(heard.append)
    dispatcher.on_reply(Loading(0.5))
    dispatcher.on_reply(Ready(INFO))
    dispatcher.on_reply(LoadFailed("too late", "InvalidGGUF"))
    assert heard == [0.5]
    assert await waiting(dispatcher.loaded) == INFO
    assert dispatcher.n_messages == 3


async def test_a_listener_that_fails_touches_no_other_request() -> None:
    class Broken(Collector):
        def on_event(self, event: Event) -> None:
            raise ValueError("no")

    dispatcher, other = make(), Collector()
    broken = dispatcher.open("a", Broken())
    dispatcher.open("b", other)
    dispatcher.on_reply(StepEvents([delta("a"), delta("b")]))
    assert other.events == [delta("b")]
    with pytest.raises(ValueError, match="no"):
        await broken.ended
    assert dispatcher.close("a")  # so the worker hears of it


async def test_a_refusal_is_the_error_it_names() -> None:
    dispatcher = make()
    dispatcher.on_reply(LoadFailed("no model", "InvalidGGUF"))
    with pytest.raises(InvalidGGUF, match="no model"):
        await waiting(dispatcher.loaded)


async def test_everybody_hears_of_the_end() -> None:
    dispatcher = make()
    begun, written = Collector(), Collector()
    untouched = dispatcher.open("a", Collector())
    dispatcher.open("b", begun)
    dispatcher.open("c", written)
    call = dispatcher.expect("call")
    dispatcher.on_reply(StepEvents([Started(id="b", prompt_tokens=1, cached_tokens=0), delta("c")]))
    dispatcher.settle(KILLED)
    with pytest.raises(WorkerDied, match="before it took this request"):
        await untouched.ended
    kinds = []
    for collector in (begun, written):
        _, event = collector.events
        assert isinstance(event, Failure)
        kinds.append(event.kind)
    assert kinds == ["unavailable", "server_error"]
    with pytest.raises(WorkerDied, match="before it answered"):
        await waiting(call)
    with pytest.raises(WorkerDied, match="while loading it"):
        await waiting(dispatcher.loaded)
    assert dispatcher.n_streams == 0
