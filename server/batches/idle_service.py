"""`IdleService`: a model service whose requests wait for idle times where they are made for a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import msgspec

from server.engine.request import IDLE_PRIORITY
from server.ipc.messages import Generate, Question, StatsReply
from server.supervisor.protocol import EventSource, ModelService, ModelStatus

R = TypeVar("R")

_IN_IDLE_TIMES: ContextVar[bool] = ContextVar("corral_in_idle_times", default=False)


@contextmanager
def in_idle_times() -> Iterator[None]:
    """Let the requests of this task, and of those that it starts, wait for idle times, without a timeout."""
    token = _IN_IDLE_TIMES.set(True)
    try:
        yield
    finally:
        _IN_IDLE_TIMES.reset(token)


class IdleService:
    """A `ModelService`: another one, for requests of batches and of everybody else."""

    def __init__(self, service: ModelService) -> None:
        self._service = service

    def models(self) -> list[ModelStatus]:
        """Return every model that requests may name."""
        return self._service.models()

    def find(self, name: str) -> ModelStatus:
        """Return the model by that name."""
        return self._service.find(name)

    def ready(self) -> bool:
        """True once every model to be served from the start is loaded."""
        return self._service.ready()

    def generate(self, name: str, request: Generate) -> EventSource:
        """Return the events of one request."""
        if _IN_IDLE_TIMES.get():
            request = msgspec.structs.replace(request, priority=IDLE_PRIORITY, timeout_s=None)
        return self._service.generate(name, request)

    async def ask(
        self,
        name: str,
        question: Question,
        reply_type: type[R],
        on_part: Callable[[R], None] | None = None,
    ) -> R:
        """Return the worker's reply to a question."""
        return await self._service.ask(name, question, reply_type, on_part)

    async def stats(self, name: str) -> StatsReply:
        """Return the counters of a loaded model's worker."""
        return await self._service.stats(name)
