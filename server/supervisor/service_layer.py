"""`ServiceLayer`: a `ModelService` around another one, for those that change some of its methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from server.ipc.messages import Question, SlotsReply, StatsReply, Work
from server.metrics.samples import WorkerSample
from server.supervisor.protocol import EventSource, ModelService, ModelStatus

R = TypeVar("R")


class ServiceLayer:
    """Passes everything on to `service`."""

    def __init__(self, service: ModelService) -> None:
        self._service = service
        self.figures = service.figures

    def models(self) -> list[ModelStatus]:
        return self._service.models()

    def find(self, name: str) -> ModelStatus:
        return self._service.find(name)

    def ready(self) -> bool:
        return self._service.ready()

    def impediment(self) -> str | None:
        return self._service.impediment()

    def generate(self, name: str, request: Work) -> EventSource:
        return self._service.generate(name, request)

    async def ask(
        self,
        name: str,
        question: Question,
        reply_type: type[R],
        on_part: Callable[[R], None] | None = None,
    ) -> R:
        return await self._service.ask(name, question, reply_type, on_part)

    async def stats(self, name: str) -> StatsReply:
        return await self._service.stats(name)

    async def slots(self, name: str) -> SlotsReply:
        return await self._service.slots(name)

    async def samples(self, timeout_s: float) -> list[WorkerSample]:
        return await self._service.samples(timeout_s)
