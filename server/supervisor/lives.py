"""`ModelLives`: what an administrator sees of the models' lives, and does to them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from models.errors import RequestError
from models.reference import ModelRef
from models.store.store import ModelStore
from server.supervisor.catalogue import CatalogueEntry
from server.supervisor.fit_judge import FitJudge
from server.supervisor.hosted_model import HostedModel
from server.supervisor.protocol import ModelState, ModelStatus
from server.supervisor.supervisor import Supervisor


class ModelLife(msgspec.Struct, frozen=True, kw_only=True):
    """One file that can be served, as `/admin/models` tells it. Times are in seconds."""

    id: str
    """The name for requests: the plain one for the file that serves it, `name:TYPE` for others."""
    object: str = "model"
    name: str
    type: str | None
    state: ModelState
    progress: float | None
    """The progress of its load, 0 to 1."""
    size_bytes: int
    memory_bytes: int | None
    """The memory that its worker holds now, measured."""
    fits: bool | None
    """True if there is room for it, once what isn't pinned was unloaded; None where that can't be judged."""
    served: bool
    """True if the server was started with it."""
    pinned: bool
    priority: int
    n_running: int
    n_waiting: int
    idle_s: float | None
    """The seconds since its last request; None if it isn't loaded."""
    keep_alive_s: float | None
    """It is unloaded after so long without a request; None: never."""
    unloads_at: float | None
    """The time of its unloading if no request comes, in Unix seconds."""
    last_used: float | None
    """The time of its last request, in Unix seconds."""
    load_s: float | None
    """Its latest load took so long."""
    context_length: int | None
    problem: str | None
    loss: Mapping[str, Mapping[str, Any]] | None
    """The figures measured of the file, under its type."""


class ModelLives:
    """The lives of one supervisor's models. It belongs to the event loop."""

    def __init__(self, supervisor: Supervisor, store: ModelStore | None = None) -> None:
        """`store`: the files' home, from which models can be deleted."""
        self._supervisor = supervisor
        self._store = store
        self._judge = FitJudge()
        self._judging = asyncio.Lock()

    async def list(self) -> list[ModelLife]:
        """Return every file that can be served: those of the start first, then by name."""
        managed = self._supervisor.managed()
        unloaded = [entry for _, entry, host in managed if host is None or not host.loaded]
        fits = await self._fits(unloaded)
        return [self._life(name, entry, host, fits) for name, entry, host in managed]

    def files(self) -> Sequence[tuple[ModelStatus, CatalogueEntry]]:
        """Return every file that can be served, behind its status under the name for requests."""
        managed = self._supervisor.managed()
        return [(self._supervisor.status(entry, name), entry) for name, entry, _ in managed]

    def file(self, name: str) -> CatalogueEntry:
        """Return the file that serves a name. Raises ModelNotFound."""
        return self._supervisor.base_of(name)

    def loaded(self) -> Sequence[tuple[ModelLife, CatalogueEntry]]:
        """Return the loaded models with their files."""
        return [
            (self._life(name, entry, host, {}), entry)
            for name, entry, host in self._supervisor.managed()
            if host is not None and host.ready_worker is not None
        ]

    async def delete(self, name: str) -> None:
        """Unload a model once what runs in it is done, and delete its file from the store.

        Raises ModelNotFound, and RequestError for a file that isn't the store's, or that the server was
        started with.
        """
        host = self._supervisor.host(name)
        entry = host.entry
        if self._store is None or entry.source is None:
            raise RequestError(
                f"the file of '{name}' isn't in the store, so it isn't deleted; delete it yourself",
                param="model",
            )
        if self._supervisor.status(entry, name).served:
            raise RequestError(
                f"the server was started with '{name}', so it isn't deleted; stop it, then: corral remove"
                f" {entry.key}",
                param="model",
            )
        if host.loaded or host.is_loading:
            await host.unload()
        is_demo = entry.source.startswith("demo ")
        ref = ModelRef(kind="demo") if is_demo else ModelRef(kind="hub", repo=entry.name)
        await asyncio.to_thread(self._store.remove, ref, entry.type)
        self._supervisor.files_changed()

    async def get(self, name: str) -> ModelLife:
        """Return one of them. Raises ModelNotFound."""
        host = self._supervisor.host(name)
        fits = {} if host.loaded else await self._fits([host.entry])
        return self._life(name, host.entry, host, fits)

    async def load(self, name: str, keep_alive_s: float | None = None, *, pin: bool = False) -> ModelLife:
        """Load a model, and return once it is ready. Raises what a request for it would."""
        host = self._supervisor.host(name)
        async with host.lease(keep_alive_s):
            if pin:
                self._pin(host, pinned=True)
        return await self.get(name)

    def begin_load(self, name: str) -> None:
        """Begin to load a model that is neither loaded nor loading. Raises ModelNotFound."""
        host = self._supervisor.host(name)
        if host.ready_worker is None:
            _ = host.start()

    async def unload(self, name: str, *, force: bool = False) -> ModelLife:
        """Unload a model once what runs in it is done, or with `force` now; a pinned one too."""
        host = self._supervisor.host(name)
        if force:
            await host.stop(0.0)
        elif host.loaded or host.is_loading:
            await host.unload()
        return await self.get(name)

    async def pin(self, name: str, *, pinned: bool) -> ModelLife:
        """Keep a model loaded once it is, or don't any more. Raises ModelNotFound."""
        self._pin(self._supervisor.host(name), pinned=pinned)
        return await self.get(name)

    def _pin(self, host: HostedModel, *, pinned: bool) -> None:
        host.life.pinned = pinned
        host.reset_idle_timer()
        self._supervisor.look_again()

    async def _fits(self, entries: Sequence[CatalogueEntry]) -> dict[CatalogueEntry, bool | None]:
        specs = [self._supervisor.spec(entry) for entry in entries]
        returned = sum(
            host.memory_bytes or 0
            for _, _, host in self._supervisor.managed()
            if host is not None and host.loaded and not host.life.pinned
        )
        async with self._judging:
            found = await asyncio.to_thread(self._judge.fit, specs, returned)
        return dict(zip(entries, found, strict=True))

    def _life(
        self,
        name: str,
        entry: CatalogueEntry,
        host: HostedModel | None,
        fits: Mapping[CatalogueEntry, bool | None],
    ) -> ModelLife:
        status, life = self._supervisor.status(entry, name), self._supervisor.life(entry)
        ready = host is not None and host.ready_worker is not None
        idle_s = host.idle_s if host is not None and ready else None
        limit_s = life.idle_limit_s
        unloads_at = None
        if host is not None and ready and not host.busy and limit_s < math.inf and idle_s is not None:
            unloads_at = time.time() + max(limit_s - idle_s, 0.0)
        was_used = host is not None and host.info is not None
        used_s = time.time() - host.since_used_s if host is not None and was_used else None
        return ModelLife(
            id=name,
            name=entry.name,
            type=entry.type,
            state=status.state,
            progress=status.progress,
            size_bytes=entry.size_bytes,
            memory_bytes=None if host is None else host.memory_bytes,
            fits=fits.get(entry, True),
            served=status.served,
            pinned=life.pinned,
            priority=life.priority,
            n_running=0 if host is None else host.n_running,
            n_waiting=0 if host is None else host.n_waiting,
            idle_s=None if idle_s is None else round(idle_s, 3),
            keep_alive_s=None if limit_s == math.inf else limit_s,
            unloads_at=None if unloads_at is None else round(unloads_at, 3),
            last_used=None if used_s is None else round(used_s, 3),
            load_s=round(host.load_s, 3) if host is not None and was_used else None,
            context_length=status.n_ctx,
            problem=status.problem,
            loss={entry.type or "": entry.quality} if entry.quality else None,
        )
