"""`MeteredService`: the model service, with each answer limited and counted by its key.

Whatever protocol a request came by, and whoever began it, its answer passes here: no route counts anything.
The last event of an answer waits until its usage is in the file, so no client has a whole answer that isn't
counted.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from time import time

import msgspec

from server.engine.events import Delta, Event, Failure, Finish, Started
from server.ipc.messages import Work
from server.keys.caller import Call, current_call
from server.keys.limits import Allowance, RateLimits
from server.keys.times import day_of
from server.supervisor.protocol import EventListener, EventSource, ModelService
from server.supervisor.service_layer import ServiceLayer
from server.usage.entry import UsageEntry
from server.usage.ledger import UsageLedger


class MeteredService(ServiceLayer):
    """A `ModelService`: another one, whose answers are limited and counted."""

    def __init__(self, service: ModelService, limits: RateLimits, ledger: UsageLedger) -> None:
        super().__init__(service)
        self._limits = limits
        self._ledger = ledger

    def generate(self, name: str, request: Work) -> EventSource:
        call = current_call()
        if call.caller.owner:
            request = msgspec.structs.replace(request, owner=call.caller.owner)
        source = super().generate(name, request)
        return _MeteredSource(source, name, call, self._limits.of(call.caller), self._ledger)


class _MeteredSource:
    """An `EventSource` whose usage is counted. Raises RateLimited before the first event."""

    def __init__(
        self, source: EventSource, model: str, call: Call, allowance: Allowance | None, ledger: UsageLedger
    ) -> None:
        self._source = source
        self._model = model
        self._call = call
        self._allowance = allowance
        self._ledger = ledger

    async def subscribe(self, listener: EventListener) -> None:
        allowance, ledger = self._allowance, self._ledger
        meter = _Meter(listener, self._call, allowance, holds_end=ledger.is_on)
        with nullcontext() if allowance is None else allowance.answering(self._call):
            try:
                await self._source.subscribe(meter)
            except BaseException as error:  # a cancelled one is counted, too
                is_error = meter.failed or not isinstance(error, asyncio.CancelledError)
                if meter.has_begun or is_error:
                    ledger.add_soon(self._entry(meter, is_error=is_error))
                raise
            await ledger.add(self._entry(meter, is_error=meter.failed))
            meter.hand_on_end()

    def _entry(self, meter: _Meter, *, is_error: bool) -> UsageEntry:
        call = self._call
        n_requests = int(not call.is_counted)
        call.is_counted = True
        return UsageEntry(
            day=day_of(time()),
            owner=call.caller.owner,
            key=call.caller.name,
            model=self._model,
            requests=n_requests,
            errors=int(is_error),
            prompt_tokens=meter.n_prompt,
            cached_tokens=meter.n_cached,
            completion_tokens=meter.n_completion,
            seconds=meter.seconds,
        )


class _Meter:
    """An `EventListener` that counts tokens on their way to the next, and may hold the last event."""

    def __init__(
        self, listener: EventListener, call: Call, allowance: Allowance | None, *, holds_end: bool
    ) -> None:
        self._listener = listener
        self._on_event = listener.on_event
        self._call = call
        self._allowance = allowance
        self._holds_end = holds_end
        self._end: Finish | None = None
        self.n_prompt = 0
        self.n_cached = 0
        self.n_completion = 0
        self.seconds = 0.0
        self.failed = False
        """True once a `Failure` has come."""

    @property
    def has_begun(self) -> bool:
        """True once a prompt was admitted."""
        return self.n_prompt > 0

    def on_event(self, event: Event) -> None:
        """Raises RateLimited for a prompt that has more tokens than the key has left."""
        if isinstance(event, Delta):
            self._call.has_answered = True
            self._count(event.n_tokens)
        elif isinstance(event, Started):
            self._begin(event)
        elif isinstance(event, Finish):
            self._finish(event)
            if self._holds_end:
                self._end = event
                return
        elif isinstance(event, Failure):
            self.failed = True
        self._on_event(event)

    def hand_on_end(self) -> None:
        """Hand on the last event, if it was held."""
        if self._end is not None:
            self._on_event(self._end)

    async def drained(self) -> None:
        await self._listener.drained()

    def _begin(self, started: Started) -> None:
        if self._allowance is not None:
            if self._call.has_answered:
                self._allowance.take_tokens(started.prompt_tokens)
            else:
                self._allowance.take_prompt(started.prompt_tokens, is_background=self._call.is_background)
        self.n_prompt, self.n_cached = started.prompt_tokens, started.cached_tokens

    def _count(self, n_tokens: int) -> None:
        self.n_completion += n_tokens
        if self._allowance is not None and n_tokens:
            self._allowance.take_tokens(n_tokens)

    def _finish(self, finish: Finish) -> None:
        usage, timings = finish.usage, finish.timings
        if self._allowance is not None:  # what no event has counted
            before = self.n_prompt + self.n_completion
            self._allowance.take_tokens(usage.prompt_tokens + usage.completion_tokens - before)
        self.n_prompt, self.n_cached = usage.prompt_tokens, usage.cached_tokens
        self.n_completion = usage.completion_tokens
        self.seconds = (timings.prompt_ms + timings.predicted_ms) / 1e3
