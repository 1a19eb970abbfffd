"""`IdleService`: a model service whose requests wait for idle times where they are made for a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

from server.engine.request import IDLE_PRIORITY
from server.ipc.messages import Work
from server.supervisor.protocol import EventSource
from server.supervisor.service_layer import ServiceLayer

_IN_IDLE_TIMES: ContextVar[bool] = ContextVar("corral_in_idle_times", default=False)


@contextmanager
def in_idle_times() -> Iterator[None]:
    """Let the requests of this task, and of those that it starts, wait for idle times, without a timeout."""
    token = _IN_IDLE_TIMES.set(True)
    try:
        yield
    finally:
        _IN_IDLE_TIMES.reset(token)


class IdleService(ServiceLayer):
    """A `ModelService` around another one, for requests of batches and of everybody else."""

    def generate(self, name: str, request: Work) -> EventSource:
        """Return the events of one request."""
        if _IN_IDLE_TIMES.get():
            request = msgspec.structs.replace(request, priority=IDLE_PRIORITY, timeout_s=None)
        return super().generate(name, request)
