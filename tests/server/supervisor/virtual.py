"""A loop whose clock jumps to the next timer, and workers that live on it: hours of serving in a second."""

from __future__ import annotations

import asyncio
import os
import selectors
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from models.errors import WorkerDied
from server.engine.events import ChoiceEnd, Finish, Started, Timings, Usage
from server.ipc.messages import Generate
from server.ipc.model_spec import ModelInfo, ModelSpec
from server.ipc.prompts import TextPrompt
from server.metrics.request_meter import RequestMeter
from server.requests.answer_record import AnswerRecord
from server.supervisor.memory_check import Need
from server.supervisor.process.dispatcher import OnProgress
from server.supervisor.process.exit_report import ExitReport
from server.supervisor.process.request_stream import RequestStream
from server.supervisor.protocol import EventListener
from tests.server.supervisor.scripted_worker import model_info

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now_s


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:  # a thread works, or nobody ever will
            events = super().select(5.0)
            assert events, "everything waits, and no timer is set: a deadlock"
            return events
        self._loop.now_s += max(timeout, 0.0)
        return super().select(0)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


@dataclass
class Machine:
    """A memory of so many bytes, and what the models in it take."""

    memory_bytes: int
    sizes: dict[str, int]
    load_s: dict[str, float]
    workers: list[Worker] = field(default_factory=list)
    drained: list[tuple[float, str]] = field(default_factory=list)
    """The times at which workers were told to end, and their models."""

    @property
    def taken_bytes(self) -> int:
        """The memory of all workers that live, those that load counted as loaded."""
        return sum(self.sizes[worker.spec.name] for worker in self.workers)

    async def need(self, spec: ModelSpec) -> Need:
        free = self.memory_bytes - sum(self.sizes[w.spec.name] for w in self.workers if w.is_loaded)
        await asyncio.sleep(0.01)  # the real one reads a file
        return Need(self.sizes[spec.name] <= free, self.sizes[spec.name], free)

    async def spawn(self, spec: ModelSpec, on_progress: OnProgress) -> Worker:
        worker = Worker(self, spec)
        self.workers.append(worker)
        assert self.taken_bytes <= self.memory_bytes, "out of memory"
        return worker


class Worker:
    """What `HostedModel` knows of a `WorkerProcess`. A request's prompt says for how long it runs."""

    def __init__(self, machine: Machine, spec: ModelSpec) -> None:
        self.machine, self.spec = machine, spec
        self.pid = os.getpid()
        self.alive, self.draining, self.is_loaded = True, False, False
        self.streams: dict[str, RequestStream] = {}
        self._ended: asyncio.Future[ExitReport] = asyncio.get_running_loop().create_future()

        self.latest_stats = None

    @property
    def n_running(self) -> int:
        return len(self.streams)

    async def ready(self) -> ModelInfo:
        await asyncio.sleep(self.machine.load_s[self.spec.name])
        self.is_loaded = True
        return model_info(self.spec)

    def open(
        self,
        request: Generate,
        listener: EventListener,
        meter: RequestMeter | None = None,
        record: AnswerRecord | None = None,
    ) -> RequestStream:
        if not self.alive or self.draining:
            raise WorkerDied("it has ended")
        assert isinstance(request.prompt, TextPrompt)
        stream = self.streams[request.id] = RequestStream(listener, meter, record)
        stream.on_event(Started(id=request.id, prompt_tokens=1, cached_tokens=0))
        asyncio.get_running_loop().call_later(float(request.prompt.text), self._finish, request.id)
        return stream

    def _finish(self, request_id: str) -> None:
        stream = self.streams.pop(request_id, None)
        if stream is not None:
            stream.on_event(ChoiceEnd(id=request_id, index=0, finish_reason="stop"))
            timings = Timings(queue_ms=0, prompt_n=1, prompt_ms=1, predicted_n=1, predicted_ms=1)
            stream.on_event(
                Finish(id=request_id, usage=Usage(prompt_tokens=1, completion_tokens=1), timings=timings)
            )

    def close(self, request_id: str) -> None:
        self.streams.pop(request_id, None)

    async def drain(self, grace_s: float) -> ExitReport:
        assert not self.streams, "a model that answers is unloaded"
        self.draining = True
        self.machine.drained.append((asyncio.get_running_loop().time(), self.spec.name))
        await asyncio.sleep(0.3)
        self.kill()
        return await self.ended()

    def kill(self, verdict: str | None = None) -> None:
        if self.alive:
            self.alive = False
            self.machine.workers.remove(self)
            self._ended.set_result(ExitReport(0))

    async def ended(self) -> ExitReport:
        return await asyncio.shield(self._ended)
