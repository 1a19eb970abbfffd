"""`LiveRequests`: the requests that are being answered, so that they can be looked at and cancelled.

`LiveService` is the model service with a record of each request that generates, whatever protocol it came by
and whoever began it. What a request says isn't in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from server.engine.events import Delta, Event, Failure, Finish, Started
from server.ipc.messages import Generate, Work
from server.metrics.origin import Origin, current_origin
from server.supervisor.protocol import EventListener, EventSource, ModelService
from server.supervisor.service_layer import ServiceLayer

CANCELLED = "cancelled_by_operator"

Phase = Literal["waiting", "generating"]


@dataclass
class LiveRequest:
    """One request that generates, or makes vectors."""

    id: str
    model: str
    n_choices: int
    origin: Origin
    begun: float = field(default_factory=time.time)
    phase: Phase = "waiting"
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    n_tokens: int = 0
    first_token: float | None = None
    task: asyncio.Task[Any] | None = None
    is_cancelled: bool = False

    def body(self) -> dict[str, Any]:
        """Return the request as `GET /admin/requests` has it."""
        now = time.time()
        rate = None
        if self.first_token is not None and now > self.first_token and self.n_tokens > 1:
            rate = round((self.n_tokens - 1) / (now - self.first_token), 1)
        return {
            "id": self.id,
            "object": "request",
            "model": self.model,
            "path": self.origin.path,
            "request_id": self.origin.request_id,
            "created": self.begun,
            "seconds": round(now - self.begun, 3),
            "phase": self.phase,
            "n": self.n_choices,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.n_tokens,
            "tokens_per_second": rate,
        }


class LiveRequests:
    """The live requests, the oldest first. Used on the event loop."""

    def __init__(self) -> None:
        self._live: dict[str, LiveRequest] = {}

    def list(self) -> list[LiveRequest]:
        """Return all of them."""
        return list(self._live.values())

    def cancel(self, request_id: str) -> bool:
        """Cancel a request, by its id or that of its HTTP request; return False if none is known by it."""
        chosen = [live for live in self._live.values() if request_id in (live.id, live.origin.request_id)]
        for live in chosen:
            if not live.is_cancelled and live.task is not None:
                live.is_cancelled = True
                live.task.cancel()
        return bool(chosen)

    @contextmanager
    def registered(self, live: LiveRequest) -> Iterator[None]:
        """Let the request be found while it runs, in the task that calls this."""
        live.task = asyncio.current_task()
        self._live[live.id] = live
        try:
            yield
        finally:
            self._live.pop(live.id, None)
            live.task = None


class LiveService(ServiceLayer):
    """A `ModelService` around another one, whose requests are recorded in `live`."""

    def __init__(self, service: ModelService, live: LiveRequests) -> None:
        super().__init__(service)
        self._live = live

    def generate(self, name: str, request: Work) -> EventSource:
        return _LiveSource(super().generate(name, request), self._live, name, request)


class _LiveSource:
    """An `EventSource` that is recorded while it runs."""

    def __init__(self, source: EventSource, live: LiveRequests, name: str, request: Work) -> None:
        self._source = source
        self._live = live
        self._name = name
        self._request = request

    async def subscribe(self, listener: EventListener) -> None:
        """Run the request; one that is cancelled through its record ends with a `Failure`."""
        n_choices = self._request.n if isinstance(self._request, Generate) else 1
        live = LiveRequest(self._request.id, self._name, n_choices, current_origin())
        counter = _Counter(listener, live)
        with self._live.registered(live):
            try:
                await self._source.subscribe(counter)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                # A client that goes at the same moment has cancelled the task as well: then it stays so.
                if not live.is_cancelled or task is None or task.uncancel() > 0:
                    raise
                if not counter.is_over:
                    listener.on_event(_cancelled(live))


def _cancelled(live: LiveRequest) -> Failure:
    """Return the failure of a cancelled request: one that clients don't send again by themselves."""
    return Failure(
        id=live.id,
        kind="invalid_request",
        message="the request was cancelled at the server, by POST /admin/requests/{id}/cancel or its page",
        code=CANCELLED,
    )


class _Counter:
    """An `EventListener` that counts tokens on their way to the next."""

    def __init__(self, listener: EventListener, live: LiveRequest) -> None:
        self._listener = listener
        self._on_event = listener.on_event
        self._live = live
        self.is_over = False
        """True once the last event has come."""

    def on_event(self, event: Event) -> None:
        live = self._live
        if isinstance(event, Delta):
            live.n_tokens += event.n_tokens
            if live.first_token is None and event.n_tokens:
                live.phase, live.first_token = "generating", time.time()
        elif isinstance(event, Started):
            live.prompt_tokens, live.cached_tokens = event.prompt_tokens, event.cached_tokens
        elif isinstance(event, Finish | Failure):
            self.is_over = True
        self._on_event(event)

    async def drained(self) -> None:
        await self._listener.drained()
