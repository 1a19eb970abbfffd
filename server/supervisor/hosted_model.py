"""`HostedModel`: one model's life; its worker is started when needed, watched, restarted and ended.

Requests have the worker by a `lease`; the idle time that `Life` bounds begins when the last one ends.

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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Protocol

import psutil

from models.errors import CorralError, WorkerBusy, WorkerDied, WorkerError
from server.ipc.messages import StatsReply
from server.ipc.model_spec import ModelInfo, ModelSpec
from server.metrics.figures import WorkerFigures
from server.supervisor.attendance import Attendance
from server.supervisor.catalogue import CatalogueEntry
from server.supervisor.eviction import Tenant
from server.supervisor.failure_history import FailureHistory, last_death, safer_spec
from server.supervisor.file_state import FileState
from server.supervisor.life import IdleTimer, Life
from server.supervisor.policy import Policy
from server.supervisor.process.dispatcher import OnProgress
from server.supervisor.process.failures import death
from server.supervisor.process.worker_process import WorkerProcess
from server.supervisor.protocol import ModelState, ModelStatus

logger = logging.getLogger("corral.supervisor")

Spawn = Callable[[ModelSpec, OnProgress], Awaitable[WorkerProcess]]
UNLOAD_GRACE_S = 10.0
"""A model that is unloaded while nothing runs in it may take so long to end: it writes prefixes."""
Use = Callable[[Path], AbstractContextManager[None]]
"""A `Use` guards a file while a worker has it open."""


class RoomKeeper(Protocol):
    """Gives models leave to load, and hears when one doesn't need its memory any more."""

    async def make(self, host: HostedModel) -> None:
        """Return once the model may load and has taken its room; others may be unloaded for it."""

    def look_again(self) -> None:
        """A model has become idle, was unloaded, or its wishes have changed."""


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

    `spawn` starts a process for a spec and reports the progress of its load; `room` is asked before
    each start and may unload other models; `use` is held while a worker has the file open. A model that
    `comes_back` is started again after a failure without a request, if it was ready before.
    """

    def __init__(
        self,
        entry: CatalogueEntry,
        spec: ModelSpec,
        policy: Policy,
        spawn: Spawn,
        room: RoomKeeper,
        use: Use = use_freely,
        comes_back: bool = False,
        life: Life | None = None,
    ) -> None:
        self.entry = entry
        self.spec = spec
        """The next worker is started with it; after a death while loading it is a safer one than at first."""
        self.state: ModelState = "available"
        self.life = Life() if life is None else life
        self.last_used_s = _now_s()
        """The loop's time at which the last request ended, or the latest began."""
        self.needed_bytes = 0
        """Its load was estimated to take so much memory; 0: that isn't known."""
        self.load_s = 0.0
        """Its latest load took so long."""
        self.info: ModelInfo | None = None
        self.attendance = Attendance(self._rest)
        self.figures = WorkerFigures()
        """The counts of its workers' lives."""
        self._idle_timer = IdleTimer(self._expire)
        self._unloads: set[asyncio.Task[None]] = set()
        self._is_retired = False
        self._offer: tuple[CatalogueEntry, ModelSpec] | None = None
        """The file that is to be loaded next in place of this one."""
        self._file: FileState | None = None
        """The file as it was when it was loaded."""
        self._outdated_s: float | None = None
        """The time at which it was seen first that there is another file now."""
        self._policy = policy
        self._spawn = spawn
        self._room = room
        self._use = use
        self._comes_back = comes_back
        self._worker: WorkerProcess | None = None
        self._bring_up: asyncio.Task[WorkerProcess] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._progress: float | None = None
        self._failures = FailureHistory(policy, _now_s)
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
    def n_waiting(self) -> int:
        """The number of requests that have no worker yet."""
        return self.attendance.n_waiting

    @property
    def latest_stats(self) -> StatsReply | None:
        """The counters that the worker has sent last, None without any."""
        return None if self._worker is None else self._worker.latest_stats

    @property
    def n_started(self) -> int:
        """The number of those that the worker has begun."""
        return 0 if self._worker is None else self._worker.n_started

    @property
    def busy(self) -> bool:
        """True if it loads, or a request runs in it or waits for its load."""
        return not self.attendance.is_empty or self.n_running > 0 or self._bring_up is not None

    @property
    def is_loading(self) -> bool:
        """True from the wish to load it until it is ready or has failed."""
        return self._bring_up is not None

    @property
    def idle_s(self) -> float:
        """The seconds since its last request; 0 while it is busy."""
        return 0.0 if self.busy else self.since_used_s

    @property
    def since_used_s(self) -> float:
        """The seconds since the last request ended, or the latest began."""
        return _now_s() - self.last_used_s

    @property
    def memory_bytes(self) -> int | None:
        """The memory that its worker holds, measured; None without one."""
        if self.pid is None:
            return None
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return None

    @property
    def reserved_bytes(self) -> int:
        """The memory that it will still take before it is loaded."""
        if self._bring_up is None or not self._has_room:
            return 0
        return max(0, self.needed_bytes - (self.memory_bytes or 0))

    def tenant(self) -> Tenant:
        """Return what decides whether it makes room for another."""
        memory_bytes = max(self.memory_bytes or 0, self.needed_bytes)
        return Tenant(self.entry.key, memory_bytes, self.idle_s, self.load_s, self.life.priority)

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

    @asynccontextmanager
    async def lease(self, keep_alive_s: float | None = None) -> AsyncIterator[WorkerProcess]:
        """Have a ready worker that isn't unloaded during the block. Raises what `worker` raises.

        `keep_alive_s`: the model is to stay for so long after its last request; None: as before.
        """
        worker = await self.worker()
        with self.attendance.running():
            self._idle_timer.cancel()
            self.last_used_s = _now_s()
            if keep_alive_s is not None:
                self.life.asked_keep_alive_s = keep_alive_s
            yield worker

    async def worker(self) -> WorkerProcess:
        """Return a worker that is ready, starting or awaiting one if need be. All callers share one start.

        Raises StillLoading when that takes too long, WorkerBusy when too many wait already, and the error of
        a start that failed: WorkerDied, or the worker's own refusal (ModelLoadError, InvalidGGUF …).
        """
        self.last_used_s = _now_s()
        await self._admitted()
        if self._is_outdated():
            await self._replace()
        if self._worker is not None and not self._worker.alive and self._watch is not None:
            # Its end is being dealt with. One that waits for a driver or a disk ends when that answers.
            _, late = await asyncio.wait([self._watch], timeout=self._policy.load_wait_s)
            if late:
                raise self._still_loading()
        if self._is_retired:
            raise WorkerError("the server is shutting down; send the request to another one, or again later")
        if self.state == "ready" and self._worker is not None:
            return self._worker
        if self._closing:
            raise WorkerError(
                f"the model {self.entry.name} is being unloaded; send the request again in a moment"
            )
        if self.state == "failed":
            self._failures.raise_recent_failure()
        self._check_waiting()
        task = self.start()
        try:
            with self.attendance.loading():
                return await asyncio.wait_for(asyncio.shield(task), self._policy.load_wait_s)
        except TimeoutError as error:
            raise self._still_loading() from error
        except asyncio.CancelledError:
            if task.cancelled():  # the model was unloaded meanwhile, this request was not cancelled
                raise WorkerError(
                    f"the model {self.entry.name} was unloaded while it was loading; send the request again"
                ) from None
            raise

    # --- another file ---

    def offer(self, entry: CatalogueEntry, spec: ModelSpec) -> None:
        """Take another file for the same name: at once, or with the next load where one is loaded."""
        self._offer = entry, spec
        if not self._has_room and self._bring_up is None and self._stopped is None:
            self._accept()

    def _accept(self) -> None:
        if self._offer is None:
            return
        (self.entry, self.spec), self._offer = self._offer, None
        self.needed_bytes, self._outdated_s = 0, None
        self._failures = FailureHistory(self._policy, _now_s)
        if self.state == "failed":
            self.state = "available"

    def _is_outdated(self) -> bool:
        """True if there is another file than the one that is loaded."""
        if self.state != "ready" or self._stopped is not None:
            return False
        offered = self._offer is not None
        return offered or (self._file is not None and self._file.was_replaced(self.entry.path))

    async def _replace(self) -> None:
        """Unload it for the other file if nothing runs in it, or in turn where something always does.

        What runs finishes on the old file. The request that is here goes to the new one if it can.
        """
        if self._outdated_s is None:
            self._outdated_s = _now_s()
            logger.info("%s has another file now", self.entry.key)
        if not self.busy:
            await self.stop(UNLOAD_GRACE_S)
            await self._admitted()
        elif _now_s() - self._outdated_s >= self._policy.turn_s and not self._unloads:
            self._keep(asyncio.create_task(self.unload(), name=f"replace {self.entry.key}"))
            await self._admitted()

    async def _admitted(self) -> None:
        """Wait while the model is being unloaded, or is to be. Raises StillLoading and WorkerBusy."""
        while self._stopped is not None or self.attendance.is_held:
            if self._stopped is not None:
                await asyncio.shield(self._stopped)
                continue
            self._check_waiting()
            try:
                await self.attendance.admitted(self._policy.load_wait_s)
            except TimeoutError as error:
                raise self._still_loading() from error

    def _check_waiting(self) -> None:
        if self.n_waiting >= self._policy.max_waiting:
            raise WorkerBusy(
                f"{self.n_waiting} requests already wait for {self.entry.name} to load, which is the limit;"
                f" send this one again later",
                retry_after_s=5.0,
            )

    def _still_loading(self) -> StillLoading:
        return StillLoading(
            f"the model {self.entry.name} is still loading after {self._policy.load_wait_s:.0f} s;"
            f" send the request again later"
        )

    def start(self) -> asyncio.Task[WorkerProcess]:
        """Begin to load, or join the load that runs; the returned task's exception is the load's failure."""
        self._forget_retry()
        if self._bring_up is None:
            self._bring_up = asyncio.create_task(self._bring_up_worker(), name=f"load {self.entry.key}")
            self._bring_up.add_done_callback(self._brought_up)
        return self._bring_up

    async def stop(self, grace_s: float) -> None:
        """End the worker: what runs may finish for `grace_s` seconds, then it is killed. Nothing is left.

        Requests that come meanwhile wait, and then load it again.
        """
        if self._stopped is not None:
            await asyncio.shield(self._stopped)
            return
        self._closing = True
        self._forget_retry()
        self._idle_timer.cancel()
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
            self.life.asked_keep_alive_s = None
            self._stopped.set_result(None)
            self._stopped = None
            self._room.look_again()

    async def unload(self) -> None:
        """Let what runs finish, then end the worker. Requests that come meanwhile load it again."""
        self.attendance.hold()
        try:
            await self.attendance.emptied()
            await self.stop(UNLOAD_GRACE_S)
        finally:
            self.attendance.release()

    def retire(self) -> None:
        """Refuse every request from now on: the server stops."""
        self._is_retired = True

    def take_room(self) -> None:
        """It counts as loaded from now on, to the end of its worker."""
        self._has_room = True

    def reset_idle_timer(self) -> None:
        """Let a change of `life` have its effect."""
        if self.state == "ready" and not self.busy:
            self._idle_timer.set(self.life.idle_limit_s - self.idle_s)

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
        self._accept()
        self._failures.record_load()
        while True:
            if self._failures.has_died:
                self.state = "restarting"
                await asyncio.sleep(self._failures.delay_s)
            else:
                self.state = "loading"
            if not self._has_room:
                await self._room.make(self)
                self.take_room()
            began_s = _now_s()
            try:
                worker, info = await self._load_once()
            except WorkerDied as error:
                self.figures.deaths += 1
                self._failures.record_load_death(error)
                if self._failures.too_many_load_deaths:
                    raise last_death(self.spec, error) from None
                self.spec = safer_spec(self.spec, error, self._failures.n_load_deaths)
                continue
            self._worker, self.info, self.load_s = worker, info, _now_s() - began_s
            self._failures.record_ready()
            self.figures.loads += 1
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
        self._file, self._outdated_s = FileState.of(self.entry.path), None
        # Half a start can't be undone: a cancelled load lets it come about, and then ends it.
        spawning = asyncio.ensure_future(self._spawn(self.spec, self._on_progress))
        try:
            worker = await asyncio.shield(spawning)
            return worker, await worker.ready()
        except BaseException:
            ending = asyncio.ensure_future(_end(spawning))
            while not ending.done():  # who cancels a second time may not leave the process behind either
                with suppress(asyncio.CancelledError):
                    await asyncio.shield(ending)
            raise

    def _on_progress(self, progress: float) -> None:
        self._progress = progress

    def _brought_up(self, task: asyncio.Task[WorkerProcess]) -> None:
        self._bring_up = None
        if task.cancelled():
            self.state = "available"
            self._has_room = False
            self._room.look_again()
            return
        error = task.exception()
        if error is not None:
            self._fail(error)
        self._rest()

    # --- idleness ---

    def _rest(self) -> None:
        """Begin to count idle time, if nothing needs the model any more."""
        if self.busy:
            return
        self.last_used_s = _now_s()
        self.reset_idle_timer()
        self._room.look_again()

    def _expire(self) -> None:
        if self.state != "ready" or self.busy or self.life.pinned:
            return
        logger.info("unloading %s: it was idle for %.0f s", self.entry.key, self.idle_s)
        task = asyncio.create_task(self.stop(UNLOAD_GRACE_S), name=f"unload {self.entry.key}")
        self._keep(task)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._unloads.add(task)
        task.add_done_callback(self._unloads.discard)

    # --- ending ---

    async def _watch_worker(self, worker: WorkerProcess) -> None:
        """Wait for the worker's end, and start it again if the end was not requested."""
        with self._use(self.entry.path):
            report = await worker.ended()
        self._worker = None
        self.figures.past.add(worker.latest_stats)
        if self._closing or worker.draining:
            self.figures.unloads += 1
            self.state = "available"
            self._has_room = False
            self._room.look_again()
            return
        self.figures.deaths += 1
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
        self._room.look_again()
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


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def _end(spawning: asyncio.Future[WorkerProcess]) -> None:
    """End a process that may just be starting, and wait until it has ended."""
    worker = await spawning
    worker.kill()
    await worker.ended()
