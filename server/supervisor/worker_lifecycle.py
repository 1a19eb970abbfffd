"""`WorkerLifecycle`: one model's worker process: loaded, watched, started again after a death, ended.

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
from typing import Protocol

import msgspec
import psutil

from models.errors import CorralError, RpcServerError, WorkerDied, WorkerError
from server.ipc.model_spec import Findings, ModelInfo
from server.metrics.figures import WorkerFigures
from server.supervisor.failure_history import FailureHistory, last_death, safer_spec
from server.supervisor.life import Alarm
from server.supervisor.policy import Policy
from server.supervisor.process.exit_report import ExitReport
from server.supervisor.process.failures import death
from server.supervisor.process.worker_process import WorkerProcess
from server.supervisor.process.worker_start import Spawn, start_worker
from server.supervisor.protocol import ModelState
from server.supervisor.served_file import ServedFile, Use
from server.supervisor.server_watch import ServerWatch

logger = logging.getLogger("corral.supervisor")


class LifecycleListener(Protocol):
    """Is asked for room before a load, and hears when one is over or its memory is free."""

    async def make_room(self) -> None:
        """Return once the worker may take its memory."""

    def on_freed(self) -> None:
        """The worker's memory is free, or will not be taken."""

    def on_loaded(self) -> None:
        """A load is over: the model is ready, or has failed."""


class WorkerLifecycle:
    """The state of one model and its worker. It belongs to the event loop.

    `spawn` starts a process for a spec; `use` is held while a worker has the file open. A model that
    `comes_back` is started again after a failure without a request, if it was ready before.
    """

    def __init__(
        self,
        file: ServedFile,
        policy: Policy,
        spawn: Spawn,
        use: Use,
        listener: LifecycleListener,
        figures: WorkerFigures,
        *,
        comes_back: bool,
    ) -> None:
        self.state: ModelState = "available"
        self.worker: WorkerProcess | None = None
        self.info: ModelInfo | None = None
        """The latest worker's facts about the model, once it was ready."""
        self.progress: float | None = None
        """The part of the load that is done; None while nothing loads."""
        self.load_s = 0.0
        """The latest load took so long."""
        self.has_room = False
        """It occupies memory, or may do so any moment: from the grant of room to its end."""
        self.closing = False
        """It is being ended; nobody starts it before that is done."""
        self.failures = FailureHistory(policy, _now_s)
        self.servers = ServerWatch(policy)
        """The servers of other machines that compute a part of the model, and are away."""
        self._file = file
        self._policy = policy
        self._spawn = spawn
        self._use = use
        self._listener = listener
        self._figures = figures
        self._comes_back = comes_back
        self._load: asyncio.Task[WorkerProcess] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopped: asyncio.Future[None] | None = None
        self._follows_death = False
        """The load that goes on replaces a worker that died after it was ready."""
        self._findings: Findings | None = None
        """The findings of the file's latest worker."""
        self._retry = Alarm(self.start)
        """The start that follows a failure without a request."""

    @property
    def is_loading(self) -> bool:
        """True from the wish to load it until it is ready or has failed."""
        return self._load is not None

    @property
    def ready_worker(self) -> WorkerProcess | None:
        """The worker, if it can accept a request this moment."""
        return self.worker if self.state == "ready" else None

    @property
    def is_stopping(self) -> bool:
        """True while a `stop` goes on."""
        return self._stopped is not None

    @property
    def death(self) -> asyncio.Task[None] | None:
        """The task that deals with the end of a worker that isn't alive any more; None without one."""
        return self._watch if self.worker is not None and not self.worker.alive else None

    @property
    def memory_bytes(self) -> int | None:
        """The memory that the worker holds, measured; None without one."""
        if self.worker is None:
            return None
        try:
            return int(psutil.Process(self.worker.pid).memory_info().rss)
        except psutil.Error:
            return None

    def accept_file(self) -> None:
        """Have the file that was offered in the place of the old one, whose failures are forgotten."""
        if self._file.accept():
            self.failures = FailureHistory(self._policy, _now_s)
            self._findings = None
            if self.state == "failed":
                self.state = "available"

    # --- starting ---

    def start(self) -> asyncio.Task[WorkerProcess]:
        """Begin to load, or join the load that runs; the returned task's exception is the load's failure."""
        self._retry.cancel()
        if self._load is None:
            self._load = asyncio.create_task(self._bring_up(), name=f"load {self._file.entry.key}")
            self._load.add_done_callback(self._brought_up)
        return self._load

    async def _bring_up(self) -> WorkerProcess:
        self.accept_file()
        self.failures.record_load()
        while True:
            if self.failures.has_died:
                self.state = "restarting"
                await asyncio.sleep(self.failures.delay_s)
            else:
                self.state = "loading"
            if self._follows_death and (error := await self.servers.ask(self._file.spec.options.split)):
                await self._await_servers(error)
            if not self.has_room:
                await self._listener.make_room()
                self.has_room = True
            began_s = _now_s()
            try:
                worker, info = await self._load_once()
            except WorkerDied as error:
                self._figures.deaths += 1
                self.failures.record_load_death(error)
                if self.failures.too_many_load_deaths:
                    raise last_death(self._file.spec, error) from None
                self._file.spec = safer_spec(self._file.spec, error, self.failures.n_load_deaths)
                continue
            except RpcServerError as error:
                if not self._follows_death:  # whoever starts it hears at once of a server that isn't there
                    raise
                await self._await_servers(error)
                continue
            self.worker, self.info, self.load_s = worker, info, _now_s() - began_s
            self._findings = info.findings
            self.failures.record_ready()
            self._follows_death = False
            self._figures.loads += 1
            self.progress = None
            self.state = "ready"
            key, kernels = self._file.entry.key, info.kernels.text
            self._watch = asyncio.create_task(self._watch_worker(worker), name=f"watch {key}")
            logger.info("%s is ready (process %d); matrix kernels: %s", key, worker.pid, kernels)
            return worker

    async def _await_servers(self, error: RpcServerError) -> None:
        """Return once all the servers answer again; others may have the memory meanwhile.

        Requests that come now hear of it, and those that are here wait.
        """
        self.state, self.progress, self.has_room = "restarting", None, False
        self._listener.on_freed()
        self.failures.record_absence(error)
        await self.servers.answer(self._file.spec.options.split, error)

    async def _load_once(self) -> tuple[WorkerProcess, ModelInfo]:
        """Start a worker and wait until it is ready. Raises what `start_worker` raises.

        One that follows a death measures nothing anew: answers wait for it.
        """
        self.progress = 0.0
        logger.info("loading %s from %s", self._file.entry.key, self._file.entry.path)
        self._file.note_load()
        spec = self._file.spec
        if self._follows_death and not self.failures.n_load_deaths:
            spec = msgspec.structs.replace(spec, findings=self._findings)
        return await start_worker(self._spawn, spec, self._on_progress)

    def _on_progress(self, progress: float) -> None:
        self.progress = progress

    def _brought_up(self, task: asyncio.Task[WorkerProcess]) -> None:
        self._load = None
        self._follows_death = False
        if task.cancelled():
            self._free()
            return
        error = task.exception()
        if error is not None:
            self._fail(error)
        self._listener.on_loaded()

    # --- ending ---

    async def stop(self, grace_s: float) -> None:
        """End the worker: what runs may finish for `grace_s` seconds, then it is killed. Nothing is left."""
        self.closing = True
        self._retry.cancel()
        self._stopped = asyncio.get_running_loop().create_future()
        try:
            if self._load is not None:
                self._load.cancel()
                await asyncio.wait([self._load])
            if self.worker is not None:
                self.state = "unloading"
                await self.worker.drain(grace_s)
            if self._watch is not None:
                await asyncio.wait([self._watch])
        finally:
            self.worker = self.progress = None
            self.failures.clear_problem()
            self.closing = False
            self._stopped.set_result(None)
            self._stopped = None
            self._free()

    async def stopped(self) -> None:
        """Return once a `stop` that goes on is over."""
        if self._stopped is not None:
            await asyncio.shield(self._stopped)

    def kill(self) -> None:
        """End the worker now; its requests fail."""
        self.closing = True
        self._retry.cancel()
        if self._load is not None:
            self._load.cancel()
        if self.worker is not None:
            self.worker.kill("the server was stopped")

    async def _watch_worker(self, worker: WorkerProcess) -> None:
        """Wait for the worker's end, and start it again if the end was not requested."""
        entry = self._file.entry
        report = await self._ended(worker)
        self.worker = None
        self._figures.past.add(worker.latest_stats)
        if self.closing or worker.draining:
            self._figures.unloads += 1
            self._free()
            return
        self._figures.deaths += 1
        died = death(entry.name, report)
        self.failures.record_death(died)
        if self.failures.too_many_deaths:
            self._fail(died)
            return
        delay_s = self.failures.delay_s
        logger.warning(
            "%s; starting it again%s", died.message, f" in {delay_s:.0f} s" if delay_s >= 1 else ""
        )
        self.state = "restarting"
        self._follows_death = True
        _ = self.start()

    async def _ended(self, worker: WorkerProcess) -> ExitReport:
        """Wait for the worker's end; other programs hear meanwhile that its file is in use."""
        path = self._file.entry.path
        try:
            with self._use(path):
                return await worker.ended()
        except (CorralError, OSError) as error:  # a full disk, say: the worker is watched all the same
            logger.warning(
                "others may remove %s while it is served, as its use can't be noted: %s", path, error
            )
            return await worker.ended()

    def _free(self) -> None:
        self.state = "available"
        self.has_room = False
        self._listener.on_freed()

    def _fail(self, error: BaseException) -> None:
        """Give up: requests get `error` for a while."""
        self.state = "failed"
        self.has_room = False
        self.progress = None
        self._listener.on_freed()
        key, name = self._file.entry.key, self._file.entry.name
        if isinstance(error, CorralError):
            failure = error
        else:
            failure = WorkerError(f"the model {name} can't be loaded: {error!r}; see the log")
            logger.error("loading %s failed", key, exc_info=error)
        self.failures.record_failure(failure)
        logger.error("%s failed: %s", key, failure.message)
        if self._comes_back and self.info is not None and not self.closing:
            self._retry.set(self._policy.failed_restart_s)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
