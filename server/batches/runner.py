"""`BatchRunner`: runs a store's batches while the server lives, those that a dead one has left too.

Of the servers that share a store one runs its batches; when that one has gone, another goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from filelock import FileLock, Timeout

from models.errors import CorralError
from server.batches.job import BatchJob, Call
from server.batches.records import BatchRecord
from server.batches.store import BatchStore

logger = logging.getLogger("corral.batches")

POLL_S = 2.0
"""Another server's new batches and cancellations are seen after so many seconds; our own at once."""
SWEEP_S = 600.0
"""Old files are deleted at this interval."""
JOBS_PER_OWNER = 4
"""So many batches of an owner are worked on at the same time; the others keep their place."""
AGAIN_S = 15.0
"""A batch whose state can't be kept is gone on with after so many seconds."""
MOST_DEFECTS = 3
"""A batch that meets a defect so often is failed: by itself it would never end."""


class BatchRunner:
    """Started and stopped once, on the event loop. `n_at_once` lines are answered at the same time."""

    def __init__(
        self,
        store: BatchStore,
        call: Call,
        find_model: Callable[[str, str], object],
        *,
        n_at_once: int,
        line_bytes: int,
    ) -> None:
        self._store = store
        self._call = call
        self._find_model = find_model
        self._n_at_once = n_at_once
        self._line_bytes = line_bytes
        self._slots = asyncio.Semaphore(n_at_once)
        self._jobs: dict[str, BatchJob] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._owners: dict[str, str] = {}
        self._not_before: dict[str, float] = {}
        self._n_defects: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; where nothing is kept there is nothing to do."""
        if self._store.is_on:
            self._store.on_change = self._changed.set
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Leave all batches as they are, with the answers that they have by now."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        lock = FileLock(self._store.folder / "lock", mode=0o600)
        try:
            await self._take(lock)
            await self._serve()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            lock.release()

    async def _take(self, lock: FileLock) -> None:
        """Return once this server is the one that runs the batches."""
        while True:
            try:
                self._store.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock.acquire(blocking=False)
            except Timeout:
                await asyncio.sleep(POLL_S)
            except OSError as error:
                logger.warning("no batches are run: can't lock %s: %s", lock.lock_file, error)
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def _serve(self) -> None:
        """Look for work until cancelled."""
        swept_s = -SWEEP_S
        while True:
            self._changed.clear()
            try:
                if time.monotonic() - swept_s >= SWEEP_S:
                    await self._store.sweep()
                    swept_s = time.monotonic()
                self._begin(await self._store.active_batches())
            except (CorralError, OSError) as error:
                logger.warning("batches wait: %s", error)
            except Exception:  # nobody awaits this task, and without it no batch is ever done
                logger.exception("batches wait: the server met a defect")
            try:
                await asyncio.wait_for(self._changed.wait(), POLL_S)
            except TimeoutError:
                continue

    def _begin(self, batches: list[BatchRecord]) -> None:
        """Begin or go on with those batches that have their turn, and cancel those that are to be."""
        n_jobs = Counter(self._owners.values())
        now = time.time()
        for batch in batches:
            if batch.id in self._tasks:
                if batch.status == "cancelling":
                    self._jobs[batch.id].cancel()
                continue
            ends_now = batch.status == "cancelling" or batch.expires <= now
            if time.monotonic() < self._not_before.get(batch.id, 0.0):
                continue
            if n_jobs[batch.owner] < JOBS_PER_OWNER or ends_now:
                n_jobs[batch.owner] += 1
                self._start(batch)

    def _start(self, batch: BatchRecord) -> None:
        job = BatchJob(
            batch,
            self._store,
            self._call,
            self._slots,
            n_at_once=self._n_at_once,
            line_bytes=self._line_bytes,
            find_model=self._find_model,
        )
        self._jobs[batch.id], self._owners[batch.id] = job, batch.owner
        self._tasks[batch.id] = asyncio.create_task(self._run_job(batch, job))

    async def _run_job(self, batch: BatchRecord, job: BatchJob) -> None:
        try:
            await job.run()
        except CorralError as error:
            logger.warning("the batch %s waits: %s", batch.id, error.message)
            self._not_before[batch.id] = time.monotonic() + AGAIN_S
        except Exception:  # a defect in one batch must not end the others
            self._n_defects[batch.id] += 1
            logger.exception("the batch %s met a defect (%d)", batch.id, self._n_defects[batch.id])
            await self._after_defect(batch, job)
        finally:
            del self._jobs[batch.id], self._owners[batch.id], self._tasks[batch.id]
            self._changed.set()

    async def _after_defect(self, batch: BatchRecord, job: BatchJob) -> None:
        """Let the batch be tried again later, or fail it where that won't help."""
        self._not_before[batch.id] = time.monotonic() + AGAIN_S
        if self._n_defects[batch.id] < MOST_DEFECTS:
            return
        try:
            await job.fail()
        except CorralError as error:
            logger.warning("the batch %s waits: %s", batch.id, error.message)
