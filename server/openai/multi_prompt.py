"""Several `Generate` requests as one stream of events: a completion with several prompts.

Choice `i` of prompt `p` becomes index p × n + i. The parts run side by side, at most `WINDOW` at a time, so
that one client's batch leaves room in the queue for others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

import msgspec

from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Timings, Usage
from server.ipc.messages import Generate
from server.openai.steps.echo_logprobs import with_scores

WINDOW = 32

Submit = Callable[[Generate], AsyncIterator[Event]]


def run(requests: Sequence[Generate], submit: Submit) -> AsyncGenerator[Event, None]:
    """Events of all requests, ending with one `Finish` (sums) or the first `Failure`, which cancels the
    others.

    Prompt scores come as the `Delta` that begins each choice (`scored_prompt`). Closing the generator closes
    every part. Errors that a part raises are raised here.
    """
    return _events(requests[0], submit) if len(requests) == 1 else _merged(requests, submit)


async def _merged(requests: Sequence[Generate], submit: Submit) -> AsyncGenerator[Event, None]:
    arrived: asyncio.Queue[tuple[int, Event | BaseException]] = asyncio.Queue(maxsize=4 * WINDOW)
    slots = asyncio.Semaphore(WINDOW)
    tasks = [
        asyncio.create_task(_part(position, request, submit, slots, arrived))
        for position, request in enumerate(requests)
    ]
    finishes: list[Finish] = []
    try:
        while len(finishes) < len(requests):
            position, event = await arrived.get()
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, Finish):
                finishes.append(event)
            elif isinstance(event, Failure):
                yield event
                return
            else:
                yield _moved(event, position * requests[position].n)
        yield _sum(finishes)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _part(
    position: int,
    request: Generate,
    submit: Submit,
    slots: asyncio.Semaphore,
    arrived: asyncio.Queue[tuple[int, Event | BaseException]],
) -> None:
    async with slots:
        try:
            async with aclosing(_events(request, submit)) as events:
                async for event in events:
                    await arrived.put((position, event))
        except Exception as error:  # noqa: BLE001 — raised again by the reader
            await arrived.put((position, error))


def _events(request: Generate, submit: Submit) -> AsyncGenerator[Event, None]:
    submitted = submit(request)
    events = submitted if isinstance(submitted, AsyncGenerator) else _generator(submitted)
    return with_scores(events, request.n) if request.score_prompt else events


def _generator(events: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    """A generator as it is: what else it can do is not hidden (`server.supervisor.protocol.Listenable`)."""
    return events if isinstance(events, AsyncGenerator) else _closing(events)


async def _closing(events: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    """An iterator that may lack `aclose` as a generator that has it."""
    try:
        async for event in events:
            yield event
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


def _moved(event: Event, offset: int) -> Event:
    if offset and isinstance(event, Delta | ChoiceEnd):
        return msgspec.structs.replace(event, index=event.index + offset)
    return event


def _sum(finishes: Sequence[Finish]) -> Finish:
    """Tokens and times of all parts; the queue time is the longest."""
    return Finish(
        id=finishes[0].id,
        usage=Usage(
            prompt_tokens=sum(finish.usage.prompt_tokens for finish in finishes),
            completion_tokens=sum(finish.usage.completion_tokens for finish in finishes),
            cached_tokens=sum(finish.usage.cached_tokens for finish in finishes),
        ),
        timings=Timings(
            queue_ms=max(finish.timings.queue_ms for finish in finishes),
            prompt_n=sum(finish.timings.prompt_n for finish in finishes),
            prompt_ms=sum(finish.timings.prompt_ms for finish in finishes),
            predicted_n=sum(finish.timings.predicted_n for finish in finishes),
            predicted_ms=sum(finish.timings.predicted_ms for finish in finishes),
            draft_n=sum(finish.timings.draft_n for finish in finishes),
            draft_n_accepted=sum(finish.timings.draft_n_accepted for finish in finishes),
        ),
    )
