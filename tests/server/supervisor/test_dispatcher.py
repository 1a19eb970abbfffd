from __future__ import annotations

import asyncio
from typing import Any

import pytest

from models.errors import InvalidGGUF, RequestError, WorkerDied
from server.engine.events import Delta, Failure, Finish, Started, Timings, Usage
from server.ipc.messages import LoadFailed, Loading, Ready, StepEvents, TokenizeReply
from server.ipc.model_spec import ModelInfo
from server.supervisor.dispatcher import Recipients
from server.supervisor.exit_report import ExitReport

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


async def waiting(future: Any) -> Any:
    return await asyncio.wait_for(asyncio.ensure_future(future), 1.0)


async def test_events_go_to_their_stream_until_the_last() -> None:
    recipients = Recipients("one")
    first, second = recipients.open("a"), recipients.open("b")
    recipients.take(StepEvents([delta("a", "1"), delta("b", "2"), delta("gone"), finish("a")]))
    assert (await first.next(), await first.next()) == (delta("a", "1"), finish("a"))
    assert await second.next() == delta("b", "2")
    assert recipients.n_streams == 1
    assert (recipients.close("a"), recipients.close("b")) == (False, True)
    recipients.take(StepEvents([delta("b")]))  # cancelled: nobody gets it


async def test_ids_are_unique_while_they_run() -> None:
    recipients = Recipients("one")
    recipients.open("a")
    with pytest.raises(RequestError, match="unique"):
        recipients.check_new("a")
    recipients.take(StepEvents([finish("a")]))
    recipients.check_new("a")


async def test_a_failure_is_for_its_request_or_its_call() -> None:
    recipients = Recipients("one")
    stream, call = recipients.open("a"), recipients.expect("c")
    for one in ("a", "c"):
        recipients.take(Failure(id=one, kind="busy", message="full"))
    assert isinstance(await stream.next(), Failure)
    assert isinstance(await waiting(call), Failure)
    recipients.forget("c")
    recipients.take(TokenizeReply("c", [1]))  # too late: nobody minds


async def test_loading() -> None:
    recipients = Recipients("one")
    heard: list[float] = []
    recipients.take(Loading(0.1))
    recipients.on_progress = heard.append
    recipients.take(Loading(0.5))
    recipients.take(Ready(INFO))
    recipients.take(LoadFailed("too late", "InvalidGGUF"))
    assert heard == [0.5]
    assert await waiting(recipients.loaded) == INFO
    assert recipients.heard


async def test_a_refusal_is_the_error_it_names() -> None:
    recipients = Recipients("one")
    recipients.take(LoadFailed("no model", "InvalidGGUF"))
    with pytest.raises(InvalidGGUF, match="no model"):
        await waiting(recipients.loaded)


async def test_everybody_is_told_of_the_end() -> None:
    recipients = Recipients("one")
    untouched, begun, written = (recipients.open(name) for name in "abc")
    call = recipients.expect("call")
    recipients.take(StepEvents([Started(id="b", prompt_tokens=1, cached_tokens=0), delta("c")]))
    recipients.settle(KILLED)
    with pytest.raises(WorkerDied, match="before it took this request"):
        await untouched.next()
    kinds = []
    for stream in (begun, written):
        event = await stream.next()
        if not isinstance(event, Failure):
            event = await stream.next()
        assert isinstance(event, Failure)
        kinds.append(event.kind)
    assert kinds == ["unavailable", "server_error"]
    with pytest.raises(WorkerDied, match="before it answered"):
        await waiting(call)
    with pytest.raises(WorkerDied, match="while loading it"):
        await waiting(recipients.loaded)
    assert recipients.n_streams == 0
