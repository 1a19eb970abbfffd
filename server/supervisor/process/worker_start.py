"""The start of a worker: it is ready, or no process is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from server.ipc.model_spec import ModelInfo, ModelSpec
from server.supervisor.process.dispatcher import OnProgress
from server.supervisor.process.worker_process import WorkerProcess

Spawn = Callable[[ModelSpec, OnProgress], Awaitable[WorkerProcess]]
"""A `Spawn` starts a process for a spec, and calls back with the progress of its load."""


async def start_worker(
    spawn: Spawn, spec: ModelSpec, on_progress: OnProgress
) -> tuple[WorkerProcess, ModelInfo]:
    """Start a worker and wait until it is ready; no process is left unless it is returned.

    Raises WorkerDied, or the worker's refusal.
    """
    # Half a start can't be undone: a cancelled load lets it come about, and then ends it.
    spawning = asyncio.ensure_future(spawn(spec, on_progress))
    try:
        worker = await asyncio.shield(spawning)
        return worker, await worker.ready()
    except BaseException:  # a cancelled load leaves no process either
        ending = asyncio.ensure_future(_end(spawning))
        while not ending.done():  # who cancels a second time may not leave the process behind either
            with suppress(asyncio.CancelledError):
                await asyncio.shield(ending)
        raise


async def _end(spawning: asyncio.Future[WorkerProcess]) -> None:
    """End a process that may just be starting, and wait until it has ended."""
    worker = await spawning
    worker.kill()
    await worker.ended()
