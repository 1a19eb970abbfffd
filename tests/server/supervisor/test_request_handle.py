from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from models.errors import WorkerDied
from server.engine.events import WORKER_DIED, Failure
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import TextPrompt
from server.metrics.request_meter import RequestMeter
from server.requests.answer_record import AnswerRecord
from server.supervisor.load_wait import StillLoading
from server.supervisor.process.request_stream import RequestStream
from server.supervisor.process.worker_process import WorkerProcess
from server.supervisor.protocol import EventListener
from server.supervisor.request_handle import RequestHandle
from tests.server.openai.collect import Collector, collect

REQUEST = Generate(id="r", prompt=TextPrompt("x"), params=SamplingParams())
FAILURE = Failure(id="r", kind="busy", message="full")


class Worker:
    """A worker that ends the request with `end`, or never."""

    alive = False

    def __init__(self, end: Failure | WorkerDied | None) -> None:
        self.end = end
        self.closed: list[str] = []

    def open(
        self,
        _request: Generate,
        listener: EventListener,
        meter: RequestMeter | None,
        record: AnswerRecord | None,
    ) -> RequestStream:
        stream = RequestStream(listener, meter, record)
        if isinstance(self.end, WorkerDied):
            stream.refuse(self.end)
        elif self.end is not None:
            stream.on_event(self.end)
        return stream

    def close(self, request_id: str) -> None:
        self.closed.append(request_id)


def handle(*workers: Worker | StillLoading | WorkerDied, max_workers: int = 2) -> RequestHandle:
    """A request that gets these workers, one after the other."""
    left = list(workers)

    @asynccontextmanager
    async def lease(_died: WorkerDied | None) -> AsyncIterator[WorkerProcess]:
        worker = left.pop(0)
        if isinstance(worker, StillLoading | WorkerDied):
            raise worker
        yield cast("WorkerProcess", worker)

    return RequestHandle(REQUEST, lease, max_workers=max_workers)


async def test_another_worker_gets_what_the_first_has_not_begun() -> None:
    first, second = Worker(WorkerDied("gone")), Worker(FAILURE)
    assert await collect(handle(first, second)) == [FAILURE]
    assert (first.closed, second.closed) == (["r"], ["r"])


async def test_a_second_death_is_raised() -> None:
    with pytest.raises(WorkerDied, match="again"):
        await collect(handle(Worker(WorkerDied("gone")), Worker(WorkerDied("gone again"))))


async def test_a_worker_that_can_not_be_had_is_one_of_those_that_died() -> None:
    cut = Failure(id="r", kind="server_error", message="it fails", code=WORKER_DIED)
    assert await collect(handle(WorkerDied("gone"), Worker(cut))) == [cut]


async def test_so_many_workers_may_have_it() -> None:
    workers = [Worker(WorkerDied(f"gone {number}")) for number in range(1, 5)]
    with pytest.raises(WorkerDied, match="gone 3"):
        await collect(handle(*workers, max_workers=3))
    assert not workers[3].closed


async def test_a_long_load_is_a_failure_that_says_when_to_come_back() -> None:
    (event,) = await collect(handle(StillLoading("loading", 5.0)))
    assert isinstance(event, Failure)
    assert (event.kind, event.retry_after_s) == ("unavailable", 5.0)


async def test_cancelling_closes_the_request() -> None:
    worker = Worker(None)
    running = asyncio.create_task(handle(worker).subscribe(Collector()))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert worker.closed == ["r"]
