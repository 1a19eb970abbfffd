"""`while_connected` and `disconnected`: work for a client ends when the client has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.types import Receive

Result = TypeVar("Result")


class ClientGone(Exception):
    """The client closed its connection; nobody reads the answer."""


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone. Only after the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of `work`, which is cancelled when the client goes. Raises ClientGone then.

    The work is done in the task that calls this, which is cancelled for it: one more task and the waits for
    it would take a good part of the time that a short answer takes.
    """
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        with suppress(Exception):  # a server that can't tell has no client any more
            await disconnected(receive)
        gone = True
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        result = await work
    except (asyncio.CancelledError, Exception) as error:
        is_cancelled_elsewhere = gone and task.uncancel() > 0
        if not gone or (is_cancelled_elsewhere and isinstance(error, asyncio.CancelledError)):
            raise
        raise ClientGone from error
    finally:
        watching.cancel()
    if gone:  # the work has come to its end all the same
        task.uncancel()
        raise ClientGone
    return result


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait for their end; what they raise is dropped."""
    running = [task for task in tasks if task.cancel()]
    if running:
        await asyncio.wait(running)
    for task in tasks:
        if not task.cancelled():
            task.exception()
