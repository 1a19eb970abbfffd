"""`MultiPrompt`: several `Generate` requests as one source of events, for several prompts at once.

Choice `i` of prompt `p` becomes index p × n + i. The parts run side by side, at most `WINDOW` at a time, so
that one client's batch leaves room in the queue for others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Timings, Usage
from server.ipc.messages import Generate
from server.openai.steps.pipeline import run
from server.supervisor.protocol import EventListener, EventSource

WINDOW = 32
"""The number of prompts of one request that run at the same time."""

Submit = Callable[[Generate], EventSource]


class MultiPrompt:
    """An `EventSource` of the events of all requests, behind their steps.

    They end with one `Finish`, which has the sums, or with the first `Failure` or error, which cancels the
    others. If it `tells_parts`, each request's own `Finish` comes instead, under its id.
    """

    def __init__(self, requests: Sequence[Generate], submit: Submit, *, tells_parts: bool = False) -> None:
        self._requests = requests
        self._submit = submit
        self._tells_parts = tells_parts

    async def subscribe(self, listener: EventListener) -> None:
        if len(self._requests) == 1:
            (request,) = self._requests
            await run(self._submit(request), request, listener)
            return
        merge = _Merge(listener, tells_parts=self._tells_parts)
        slots = asyncio.Semaphore(WINDOW)
        parts = [
            asyncio.create_task(self._part(merge, position, slots)) for position in range(len(self._requests))
        ]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        for part in done:
            error = part.exception()
            if error is not None and not isinstance(error, _Failed):
                raise error
        if not merge.failed and not self._tells_parts:
            listener.on_event(_sum(merge.finishes))

    async def _part(self, merge: _Merge, position: int, slots: asyncio.Semaphore) -> None:
        """Run one request. Its place is free once the client has room for more."""
        request = self._requests[position]
        part = _Part(merge, position * request.n)
        async with slots:
            await run(self._submit(request), request, part)
            if merge.failed:
                raise _Failed
            await merge.listener.drained()


class _Failed(Exception):
    """A part has ended with a `Failure`, which the listener has got."""


class _Merge:
    """The parts' common state."""

    def __init__(self, listener: EventListener, *, tells_parts: bool) -> None:
        self.listener = listener
        self.tells_parts = tells_parts
        self.finishes: list[Finish] = []
        self.failed = False


class _Part:
    """The `EventListener` of one prompt: hands its events on under the indexes of the whole."""

    def __init__(self, merge: _Merge, offset: int) -> None:
        self._merge = merge
        self._offset = offset

    def on_event(self, event: Event) -> None:
        merge = self._merge
        if merge.failed:
            return  # another part's failure was the last event
        if isinstance(event, Finish):
            merge.finishes.append(event)
            if merge.tells_parts:
                merge.listener.on_event(event)
            return
        if isinstance(event, Delta | ChoiceEnd) and self._offset:
            event = msgspec.structs.replace(event, index=event.index + self._offset)
        merge.failed = isinstance(event, Failure)
        merge.listener.on_event(event)

    async def drained(self) -> None:
        await self._merge.listener.drained()


def _sum(finishes: Sequence[Finish]) -> Finish:
    """Return the tokens and times of all parts together; the queue time is the longest."""
    return Finish(
        id=finishes[0].id,
        usage=Usage(
            prompt_tokens=sum(finish.usage.prompt_tokens for finish in finishes),
            completion_tokens=sum(finish.usage.completion_tokens for finish in finishes),
            cached_tokens=sum(finish.usage.cached_tokens for finish in finishes),
            reasoning_tokens=sum(finish.usage.reasoning_tokens for finish in finishes),
        ),
        timings=Timings(
            queue_ms=max(finish.timings.queue_ms for finish in finishes),
            prompt_n=sum(finish.timings.prompt_n for finish in finishes),
            prompt_ms=sum(finish.timings.prompt_ms for finish in finishes),
            predicted_n=sum(finish.timings.predicted_n for finish in finishes),
            predicted_ms=sum(finish.timings.predicted_ms for finish in finishes),
            draft_n=sum(finish.timings.draft_n for finish in finishes),
            draft_n_accepted=sum(finish.timings.draft_n_accepted for finish in finishes),
            context_shifts=sum(finish.timings.context_shifts for finish in finishes),
        ),
    )
