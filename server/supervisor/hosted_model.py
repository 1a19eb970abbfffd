"""`HostedModel`: one model as requests and other models see it: its worker is there when it is needed.

Requests have the worker by a `lease`; the idle time that `Life` bounds begins when the last one ends. How the
worker is started, watched and ended is `WorkerLifecycle`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from models.errors import WorkerError
from server.ipc.messages import StatsReply
from server.ipc.model_spec import ModelInfo, ModelSpec
from server.metrics.figures import WorkerFigures
from server.supervisor.attendance import Attendance
from server.supervisor.catalogue import CatalogueEntry
from server.supervisor.eviction import Tenant
from server.supervisor.life import Alarm, Life
from server.supervisor.load_wait import LoadWait
from server.supervisor.policy import Policy
from server.supervisor.process.worker_process import WorkerProcess
from server.supervisor.process.worker_start import Spawn
from server.supervisor.protocol import ModelState, ModelStatus
from server.supervisor.served_file import ServedFile, Use, use_freely
from server.supervisor.worker_lifecycle import WorkerLifecycle

logger = logging.getLogger("corral.supervisor")

UNLOAD_GRACE_S = 10.0
"""A model that is unloaded while nothing runs in it may take so long to end: it writes prefixes."""


class RoomKeeper(Protocol):
    """Gives models leave to load, and hears when one doesn't need its memory any more."""

    async def make(self, host: HostedModel) -> None:
        """Return once the model may load and has taken its room; others may be unloaded for it."""

    def look_again(self) -> None:
        """A model has become idle, was unloaded, or its wishes have changed."""


@dataclass(frozen=True, slots=True)
class Hosting:
    """The parts that all models of a supervisor have in common.

    `spawn` starts a process for a spec and reports the progress of its load; `room` is asked before each
    start and may unload other models; `use` is held while a worker has the file open.
    """

    policy: Policy
    spawn: Spawn
    room: RoomKeeper
    use: Use = use_freely


class HostedModel:
    """One model's requests, life and worker. It belongs to the event loop.

    A model that `comes_back` is started again after a failure without a request, if it was ready before.
    `figures` counts its workers' lives.
    """

    def __init__(
        self,
        entry: CatalogueEntry,
        spec: ModelSpec,
        hosting: Hosting,
        *,
        comes_back: bool = False,
        life: Life | None = None,
        figures: WorkerFigures | None = None,
    ) -> None:
        self.life = Life() if life is None else life
        self.last_used_s = _now_s()
        """The loop's time at which the last request ended, or the latest began."""
        self.attendance = Attendance(self._rest)
        self.file = ServedFile(entry, spec, _now_s)
        self.figures = WorkerFigures() if figures is None else figures
        self._policy = hosting.policy
        self._room = hosting.room
        self._lifecycle = WorkerLifecycle(
            self.file, hosting.policy, hosting.spawn, hosting.use, self, self.figures, comes_back=comes_back
        )
        self._load_wait = LoadWait(entry.name, self.attendance, hosting.policy)
        self._idle = Alarm(self._expire)
        self._unloads: set[asyncio.Task[None]] = set()
        self._is_retired = False

    # --- the state ---

    @property
    def entry(self) -> CatalogueEntry:
        """The file as the catalogue has it."""
        return self.file.entry

    @property
    def spec(self) -> ModelSpec:
        """The next worker is started with it."""
        return self.file.spec

    @property
    def state(self) -> ModelState:
        """The state of the worker's lifecycle."""
        return self._lifecycle.state

    @property
    def info(self) -> ModelInfo | None:
        """The latest worker's facts about the model; None before the first was ready."""
        return self._lifecycle.info

    @property
    def load_s(self) -> float:
        """The seconds that the latest load took."""
        return self._lifecycle.load_s

    @property
    def n_running(self) -> int:
        """The number of requests in the worker."""
        worker = self._lifecycle.worker
        return 0 if worker is None else worker.n_running

    @property
    def n_waiting(self) -> int:
        """The number of requests that have no worker yet."""
        return self.attendance.n_waiting

    @property
    def n_started(self) -> int:
        """The number of those in the worker that it has begun."""
        worker = self._lifecycle.worker
        return 0 if worker is None else worker.n_started

    @property
    def latest_stats(self) -> StatsReply | None:
        """The counters that the worker has sent last, None without any."""
        worker = self._lifecycle.worker
        return None if worker is None else worker.latest_stats

    @property
    def busy(self) -> bool:
        """True if it loads, or a request runs in it or waits for its load."""
        return not self.attendance.is_empty or self.n_running > 0 or self.is_loading

    @property
    def is_loading(self) -> bool:
        """True from the wish to load it until it is ready or has failed."""
        return self._lifecycle.is_loading

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
        return self._lifecycle.memory_bytes

    @property
    def reserved_bytes(self) -> int:
        """The memory that it will still take before it is loaded."""
        if not self.is_loading or not self.loaded:
            return 0
        return max(0, self.file.needed_bytes - (self.memory_bytes or 0))

    def tenant(self) -> Tenant:
        """Return what decides whether it makes room for another."""
        memory_bytes = max(self.memory_bytes or 0, self.file.needed_bytes)
        return Tenant(self.entry.key, memory_bytes, self.idle_s, self.load_s, self.life.priority)

    @property
    def ready_worker(self) -> WorkerProcess | None:
        """The worker, if it can accept a request this moment."""
        return self._lifecycle.ready_worker

    @property
    def loaded(self) -> bool:
        """True while it occupies memory, or may do so any moment: from the grant of room to its end."""
        return self._lifecycle.has_room

    @property
    def served(self) -> bool:
        """True if it has been ready, and is or can be again at once: unloaded to make room counts."""
        return self.info is not None and self.state in ("ready", "unloading", "available")

    @property
    def pid(self) -> int | None:
        """The id of the worker process, None without one."""
        worker = self._lifecycle.worker
        return None if worker is None else worker.pid

    def status(self, name: str | None = None) -> ModelStatus:
        """Return the model's status under `name`, by default its plain name."""
        return ModelStatus(
            name=name or self.entry.name,
            state=self.state,
            created=self.entry.created,
            type=self.entry.type,
            progress=self._lifecycle.progress,
            info=self.info,
            problem=self._lifecycle.failures.problem,
        )

    # --- requests ---

    @asynccontextmanager
    async def lease(self, keep_alive_s: float | None = None) -> AsyncIterator[WorkerProcess]:
        """Have a ready worker that isn't unloaded during the block. Raises what `worker` raises.

        `keep_alive_s`: the model is to stay for so long after its last request; None: as before.
        """
        worker = await self.worker()
        with self.attendance.running():
            self._idle.cancel()
            self.last_used_s = _now_s()
            if keep_alive_s is not None:
                self.life.asked_keep_alive_s = keep_alive_s
            yield worker

    async def worker(self) -> WorkerProcess:
        """Return a worker that is ready, starting or awaiting one if need be. All callers share one start.

        Raises StillLoading when that takes too long, WorkerBusy when too many wait already, RpcServerError
        while a server that computes a part is away, and the error of a start that failed: WorkerDied, or the
        worker's own refusal (ModelLoadError, InvalidGGUF …).
        """
        lifecycle = self._lifecycle
        self.last_used_s = _now_s()
        await self._admitted()
        if self.state == "ready" and not lifecycle.is_stopping and self.file.is_outdated:
            await self._replace()
        death = lifecycle.death
        if death is not None:
            await self._load_wait.over(death)
        if self._is_retired:
            raise WorkerError("the server is shutting down; send the request to another one, or again later")
        worker = self.ready_worker
        if worker is not None:
            return worker
        if lifecycle.closing:
            raise WorkerError(
                f"the model {self.entry.name} is being unloaded; send the request again in a moment"
            )
        lifecycle.servers.raise_if_away()
        if self.state == "failed":
            lifecycle.failures.raise_recent_failure()
        self._load_wait.check()
        return await self._load_wait.loaded(self.start())

    async def _admitted(self) -> None:
        """Wait while the model is being unloaded, or is to be. Raises StillLoading and WorkerBusy."""
        while self._lifecycle.is_stopping or self.attendance.is_held:
            if self._lifecycle.is_stopping:
                await self._lifecycle.stopped()
            else:
                await self._load_wait.admitted()

    # --- another file ---

    def offer(self, entry: CatalogueEntry, spec: ModelSpec) -> None:
        """Take another file for the same name: at once, or with the next load where one is loaded."""
        self.file.offer(entry, spec)
        if not self.loaded and not self.is_loading and not self._lifecycle.is_stopping:
            self._lifecycle.accept_file()

    async def _replace(self) -> None:
        """Unload it for the other file if nothing runs in it, or in turn where something always does.

        What runs finishes on the old file. The request that is here goes to the new one if it can.
        """
        outdated_for_s = self.file.outdated_for_s()
        if not self.busy:
            await self.stop(UNLOAD_GRACE_S)
            await self._admitted()
        elif outdated_for_s >= self._policy.turn_s and not self._unloads:
            self._keep(asyncio.create_task(self.unload(), name=f"replace {self.entry.key}"))
            await self._admitted()

    # --- commands ---

    def start(self) -> asyncio.Task[WorkerProcess]:
        """Begin to load, or join the load that runs; the returned task's exception is the load's failure."""
        return self._lifecycle.start()

    async def stop(self, grace_s: float) -> None:
        """End the worker: what runs may finish for `grace_s` seconds, then it is killed. Nothing is left.

        Requests that come meanwhile wait, and then load it again.
        """
        if self._lifecycle.is_stopping:
            await self._lifecycle.stopped()
            return
        self._idle.cancel()
        try:
            await self._lifecycle.stop(grace_s)
        finally:
            self.life.asked_keep_alive_s = None

    async def unload(self) -> None:
        """Let what runs finish, then end the worker. Requests that come meanwhile load it again."""
        self.attendance.hold()
        try:
            await self.attendance.emptied()
            await self.stop(UNLOAD_GRACE_S)
        finally:
            self.attendance.release()

    def kill(self) -> None:
        """End the worker now; its requests fail."""
        self._lifecycle.kill()

    def retire(self) -> None:
        """Refuse every request from now on: the server stops."""
        self._is_retired = True

    # --- room ---

    async def make_room(self) -> None:
        """Return once it may load."""
        await self._room.make(self)

    def take_room(self) -> None:
        """It counts as loaded from now on, to the end of its worker."""
        self._lifecycle.has_room = True

    def on_freed(self) -> None:
        """Its worker's memory is free: others may have it."""
        self._room.look_again()

    # --- idleness ---

    def on_loaded(self) -> None:
        """A load is over: it may be idle now."""
        self._rest()

    def reset_idle_timer(self) -> None:
        """Let a change of `life` have its effect."""
        if self.state == "ready" and not self.busy:
            self._idle.set(self.life.idle_limit_s - self.idle_s)

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
        self._keep(asyncio.create_task(self.stop(UNLOAD_GRACE_S), name=f"unload {self.entry.key}"))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._unloads.add(task)
        task.add_done_callback(self._unloads.discard)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
