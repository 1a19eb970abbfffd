"""`HostedModel`: one model's life; its worker is started when needed, watched, restarted and ended.

available ──▶ loading ──▶ ready ──▶ unloading ──▶ available
               │  ▲         │
               │  └──── restarting      it died: started again, each quick death after a longer delay
               ▼             │
             failed ◀────────┘          refused to load, or died too often; a later request tries again, and
                                        after a while one of the start, if it was ready before
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from models.errors import CorralError, WorkerBusy, WorkerDied, WorkerError
from server.ipc.model_spec import ModelInfo, ModelSpec
from server.supervisor.catalogue import CatalogueEntry
from server.supervisor.failure_history import FailureHistory, last_death, safer_spec
from server.supervisor.policy import Policy
from server.supervisor.process.dispatcher import OnProgress
from server.supervisor.process.failures import death
from server.supervisor.process.worker_process import WorkerProcess
from server.supervisor.protocol import ModelState, ModelStatus

logger = logging.getLogger("corral.supervisor")

Spawn = Callable[[ModelSpec, OnProgress], Awaitable[WorkerProcess]]
MakeRoom = Callable[["HostedModel"], Awaitable[None]]
"""A `MakeRoom` returns once the model may load; it may unload others."""
Use = Callable[[Path], AbstractContextManager[None]]
"""A `Use` guards a file while a worker has it open."""


def use_freely(_path: Path) -> AbstractContextManager[None]:
    """Guard nothing: for files that no store guards."""
    return nullcontext()


class StillLoading(WorkerError):
    """The model is still loading and the request has waited long enough; retry in `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HostedModel:
    """One model's state and worker. It belongs to the event loop; only its methods change its state.

    `spawn` starts a process for a spec and reports the progress of its load; `make_room` is awaited before
    each start and may unload other models; `use` is held while a worker has the file open. A model that
    `comes_back` is started again after a failure without a request, if it was ready before.
    """

    def __init__(
        self,
        entry: CatalogueEntry,
        spec: ModelSpec,
        policy: Policy,
        spawn: Spawn,
        make_room: MakeRoom,
        use: Use = use_freely,
        comes_back: bool = False,
    ) -> None:
        self.entry = entry
        self.spec = spec
        """The next worker is started with it; after a death while loading it is a safer one than at first."""
        self.state: ModelState = "available"
        self.last_used = time.monotonic()
        self.info: ModelInfo | None = None
        self.n_waiting = 0
        self._policy = policy
        self._spawn = spawn
        self._make_room = make_room
        self._use = use
        self._comes_back = comes_back
        self._worker: WorkerProcess | None = None
        self._bring_up: asyncio.Task[WorkerProcess] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._progress: float | None = None
        self._failures = FailureHistory(policy)
        self._closing = False
        self._has_room = False
        self._stopped: asyncio.Future[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        """The start that follows a failure without a request."""

    # --- the state ---

    @property
    def n_running(self) -> int:
        """The number of requests in the worker."""
        return 0 if self._worker is None else self._worker.n_running

    @property
    def busy(self) -> bool:
        """True if it loads, or a request runs in it or waits for it."""
        return bool(self.n_running or self.n_waiting or self._bring_up is not None)

    @property
    def ready_worker(self) -> WorkerProcess | None:
        """The worker, if it can accept a request this moment."""
        return self._worker if self.state == "ready" else None

    @property
    def loaded(self) -> bool:
        """True while it occupies memory, or may do so any moment: from the grant of room to its end."""
        return self._has_room

    @property
    def served(self) -> bool:
        """True if it has been ready, and is or can be again at once: unloaded to make room counts."""
        return self.info is not None and self.state in ("ready", "unloading", "available")

    @property
    def pid(self) -> int | None:
        """The id of the worker process, None without one."""
        return None if self._worker is None else self._worker.pid

    def status(self, name: str | None = None) -> ModelStatus:
        """Return the model's status under `name`, by default its plain name."""
        return ModelStatus(
            name=name or self.entry.name,
            state=self.state,
            created=self.entry.created,
            type=self.entry.type,
            progress=self._progress,
            info=self.info,
            problem=self._failures.problem,
        )

    # --- commands of the supervisor ---

    async def worker(self) -> WorkerProcess:
        """Return a worker that is ready, starting or awaiting one if need be. All callers share one start.

        Raises StillLoading when that takes too long, WorkerBusy when too many wait already, and the error of
        a start that failed: WorkerDied, or the worker's own refusal (ModelLoadError, InvalidGGUF …).
        """
        self.last_used = time.monotonic()
        while self._stopped is not None:
            await asyncio.shield(self._stopped)
        if self._worker is not None and not self._worker.alive and self._watch is not None:
            await asyncio.wait([self._watch])  # its end is being dealt with
        if self.state == "ready" and self._worker is not None:
            return self._worker
        if self._closing:
            raise WorkerError(
                f"the model {self.entry.name} is being unloaded; send the request again in a moment"
            )
        if self.state == "failed":
            self._failures.raise_recent_failure()
        if self.n_waiting >= self._policy.max_waiting:
            raise WorkerBusy(
                f"{self.n_waiting} requests already wait for {self.entry.name} to load, which is the limit;"
                f" send this one again later",
                retry_after_s=5.0,
            )
        task = self.start()
        self.n_waiting += 1
        try:
            return await asyncio.wait_for(asyncio.shield(task), self._policy.load_wait_s)
        except TimeoutError as error:
            raise StillLoading(
                f"the model {self.entry.name} is still loading after {self._policy.load_wait_s:.0f} s;"
                f" send the request again later"
            ) from error
        except asyncio.CancelledError:
            if task.cancelled():  # the model was unloaded meanwhile, this request was not cancelled
                raise WorkerError(
                    f"the model {self.entry.name} was unloaded while it was loading; send the request again"
                ) from None
            raise
        finally:
            self.n_waiting -= 1
            self.last_used = time.monotonic()

    def start(self) -> asyncio.Task[WorkerProcess]:
        """Begin to load, or join the load that runs; the returned task's exception is the load's failure."""
        self._forget_retry()
        if self._bring_up is None:
            self._bring_up = asyncio.create_task(self._bring_up_worker(), name=f"load {self.entry.key}")
            self._bring_up.add_done_callback(self._brought_up)
        return self._bring_up

    async def stop(self, grace_s: float) -> None:
        """End the worker: what runs may finish for `grace_s` seconds, then it is killed. Nothing is left."""
        self._closing = True
        self._forget_retry()
        self._stopped = asyncio.get_running_loop().create_future()
        try:
            if self._bring_up is not None:
                self._bring_up.cancel()
                await asyncio.wait([self._bring_up])
            if self._worker is not None:
                self.state = "unloading"
                await self._worker.drain(grace_s)
            if self._watch is not None:
                await asyncio.wait([self._watch])
        finally:
            self.state = "available"
            self._worker = self._progress = None
            self._failures.clear_problem()
            self._closing = self._has_room = False
            self._stopped.set_result(None)
            self._stopped = None

    def kill(self) -> None:
        """End the worker now; its requests fail."""
        self._closing = True
        self._forget_retry()
        if self._bring_up is not None:
            self._bring_up.cancel()
        if self._worker is not None:
            self._worker.kill("the server was stopped")

    # --- starting ---

    async def _bring_up_worker(self) -> WorkerProcess:
        self._failures.record_load()
        while True:
            if self._failures.has_died:
                self.state = "restarting"
                await asyncio.sleep(self._failures.delay_s)
            else:
                self.state = "loading"
            if not self._has_room:
                await self._make_room(self)
                self._has_room = True
            try:
                worker, info = await self._load_once()
            except WorkerDied as error:
                self._failures.record_load_death(error)
                if self._failures.too_many_load_deaths:
                    raise last_death(self.spec, error) from None
                self.spec = safer_spec(self.spec, error, self._failures.n_load_deaths)
                continue
            self._worker, self.info = worker, info
            self._failures.record_ready()
            self._progress = None
            self.state = "ready"
            self._watch = asyncio.create_task(self._watch_worker(worker), name=f"watch {self.entry.key}")
            kernels = info.kernels.text
            logger.info("%s is ready (process %d); matrix kernels: %s", self.entry.key, worker.pid, kernels)
            return worker

    async def _load_once(self) -> tuple[WorkerProcess, ModelInfo]:
        """Start a worker and wait until it is ready; no process is left unless it is returned.

        Raises WorkerDied, or the worker's refusal.
        """
        self._progress = 0.0
        logger.info("loading %s from %s", self.entry.key, self.entry.path)
        # Half a start can't be undone: a cancelled load lets it come about, and then ends it.
        spawning = asyncio.ensure_future(self._spawn(self.spec, self._on_progress))
        try:
            worker = await asyncio.shield(spawning)
            return worker, await worker.ready()
        except BaseException:
            worker = await spawning
            worker.kill()
            await worker.ended()
            raise

    def _on_progress(self, progress: float) -> None:
        self._progress = progress

    def _brought_up(self, task: asyncio.Task[WorkerProcess]) -> None:
        self._bring_up = None
        if task.cancelled():
            self.state = "available"
            self._has_room = False
            return
        error = task.exception()
        if error is not None:
            self._fail(error)

    # --- ending ---

    async def _watch_worker(self, worker: WorkerProcess) -> None:
        """Wait for the worker's end, and start it again if the end was not requested."""
        with self._use(self.entry.path):
            report = await worker.ended()
        self._worker = None
        if self._closing or worker.draining:
            self.state = "available"
            self._has_room = False
            return
        died = death(self.entry.name, report)
        self._failures.record_death(died)
        if self._failures.too_many_deaths:
            self._fail(died)
            return
        delay_s = self._failures.delay_s
        logger.warning(
            "%s; starting it again%s", died.message, f" in {delay_s:.0f} s" if delay_s >= 1 else ""
        )
        self.state = "restarting"
        _ = self.start()

    def _fail(self, error: BaseException) -> None:
        """Give up: requests get `error` for a while."""
        self.state = "failed"
        self._has_room = False
        self._progress = None
        if isinstance(error, CorralError):
            failure = error
        else:
            failure = WorkerError(f"the model {self.entry.name} can't be loaded: {error!r}; see the log")
            logger.error("loading %s failed", self.entry.key, exc_info=error)
        self._failures.record_failure(failure)
        logger.error("%s failed: %s", self.entry.key, failure.message)
        if self._comes_back and self.info is not None and not self._closing:
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(self._policy.failed_restart_s, self.start)

    def _forget_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
