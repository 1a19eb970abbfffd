from __future__ import annotations

import asyncio
from typing import Any

import pytest

from models.errors import InvalidGGUF, RequestError, WorkerDied
from server.engine.events import Delta, Event, Failure, Finish, Started, Timings, Usage
from server.ipc.messages import LoadFailed, Loading, Ready, StepEvents, TokenizeReply
from server.ipc.model_spec import ModelInfo
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
