"""`Supervisor`: all models together, as a `ModelService`.

A name is looked up in the catalogue, its `HostedModel` is brought up if need be, and the request goes to that
model's worker. When a requested model doesn't fit together with those that are loaded, `Room` unloads the
least useful idle ones. A death touches only the requests of that worker.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TypeVar

import msgspec

from models.errors import ModelNotFound, RequestError, WorkerDied, WorkerError
from models.pooling import kind_of
from server.ipc.launch import worker_command, worker_environment
from server.ipc.messages import (
    AdapterReply,
    Generate,
    Pool,
    Question,
    Slots,
    SlotsReply,
    Stats,
    StatsReply,
    Work,
)
from server.ipc.model_spec import ModelSpec
from server.metrics.figures import FigureBook
from server.metrics.origin import current_origin
from server.metrics.request_meter import RequestMeter
from server.metrics.samples import WorkerSample
from server.requests.prefix_key import prefix_key
from server.supervisor.adapters.registry import AdapterRegistry, RegisteredAdapter
from server.supervisor.adapters.service import AdapterMessage
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.core_share import CoreShare
from server.supervisor.hosted_model import HostedModel, Hosting
from server.supervisor.life import Life
from server.supervisor.memory_advice import NO_ADVICE, MemoryAdvice
from server.supervisor.memory_check import Need
from server.supervisor.policy import Policy
from server.supervisor.process.dispatcher import OnProgress
from server.supervisor.process.worker_process import Command, Environment, WorkerProcess
from server.supervisor.protocol import ModelStatus
from server.supervisor.request_handle import RequestHandle
from server.supervisor.room import Room
from server.supervisor.served_file import Use, use_freely
from server.supervisor.served_lengths import ServedLengths

logger = logging.getLogger("corral.supervisor")

SpecOf = Callable[[CatalogueEntry], ModelSpec]
R = TypeVar("R")


class Supervisor:
    """A `ModelService`. Everything happens on the event loop that calls `start`.

    `spec_of` returns the spec that a file is loaded with; `adapter_registry` has each model's LoRA adapters.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        spec_of: SpecOf,
        *,
        policy: Policy | None = None,
        memory: MemoryAdvice = NO_ADVICE,
        use: Use = use_freely,
        command: Command = worker_command,
        environment: Environment = worker_environment,
        adapter_registry: AdapterRegistry | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._lengths = ServedLengths(spec_of, memory.lengths)
        self._spec_of = spec_of
        self._policy = policy or Policy()
        self._command = command
        self._environment = environment
        self._adapters = AdapterRegistry() if adapter_registry is None else adapter_registry
        self._hosts: dict[str, HostedModel] = {}
        self.figures = FigureBook()
        self._share = CoreShare()
        self._lives: dict[str, Life] = {}

        async def need_of(host: HostedModel) -> Need:
            return await memory.need(self._with_adapter_specs(host.spec))

        self._room = Room(self._policy, self._hosts.values, need_of)
        self._hosting = Hosting(self._policy, self._spawn, self._room, use)
        self._ids = itertools.count(1)
        self._started = False
        self._stopping = False

    # --- life ---

    def start(self) -> None:
        """Begin to load the models that are served from the start. Needs a running event loop."""
        self._started = True
        self._lengths.note(self._catalogue.entries())
        for entry in self._catalogue.served:
            _ = self._host_of(entry).start()
        for name in self._policy.preload:
            try:
                host = self._host(name)
            except ModelNotFound as error:
                logger.warning("can't be loaded at the start: %s", error.message)
                continue
            _ = host.start()

    async def wait_ready(self) -> None:
        """Wait until every model served from the start is ready. Raises the error of one that failed."""
        await asyncio.gather(*(self._host_of(entry).worker() for entry in self._catalogue.served))

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, let running ones finish for `grace_s` seconds, end every worker."""
        self._retire()
        await asyncio.gather(*(host.stop(grace_s) for host in self._hosts.values()))

    def kill(self) -> None:
        """End every worker now; `stop`, if it waits, returns soon after."""
        self._retire()
        for host in self._hosts.values():
            host.kill()

    def _retire(self) -> None:
        self._stopping = True
        for host in self._hosts.values():
            host.retire()

    @property
    def n_running(self) -> int:
        """The number of requests in workers, or waiting for one."""
        return sum(host.n_running + host.n_waiting for host in self._hosts.values())

    @property
    def pids(self) -> dict[str, int]:
        """The ids of the worker processes that live now, by model and type."""
        return {key: host.pid for key, host in self._hosts.items() if host.pid is not None}

    # --- ModelService ---

    def models(self) -> list[ModelStatus]:
        plain = self._catalogue.plain(self._loaded_keys())
        if self._started:
            self._lengths.note(plain)
        found = [self._status(entry, entry.name) for entry in plain]
        keys = {entry.key for entry in plain}
        others = [host for key, host in self._hosts.items() if key not in keys and host.loaded]
        return found + [self._status(host.entry, host.entry.key) for host in others]

    def find(self, name: str) -> ModelStatus:
        entry, adapter = self._resolve(name)
        if adapter is not None:
            return msgspec.structs.replace(self._status(entry, entry.name), name=name, parent=entry.name)
        return self._status(entry, entry.name if name == entry.name else entry.key)

    def ready(self) -> bool:
        if not self._started or self._stopping:
            return False
        return all(self._host_of(entry).served for entry in self._catalogue.served)

    def impediment(self) -> None:
        """Return None: a server has nothing to wait for but its models."""

    def generate(self, name: str, request: Work) -> RequestHandle:
        request, origin = self._with_adapters(name, request), current_origin()
        origin.prefix_key = origin.prefix_key or prefix_key(self._resolve(name)[0].name, request)
        meter = RequestMeter(
            self.figures,
            origin,
            is_pooled=isinstance(request, Pool),
            adapters=self._adapters.names(request.adapters or ()) if isinstance(request, Generate) else (),
        )

        def lease(died: WorkerDied | None) -> AbstractAsyncContextManager[WorkerProcess]:
            if died is not None and self._stopping:
                raise died
            host = self._host(name)
            meter.assign(host.entry.name, host.entry.type)
            return self._lease_for(host, request)

        return RequestHandle(request, lease, meter)

    def relay(self, name: str, request: Work) -> RequestHandle:
        """Return a request's events for another server, which counts it and has it go on after a death."""
        request = self._with_adapters(name, request)
        return RequestHandle(request, lambda _: self._lease_for(self._host(name), request), max_workers=1)

    async def ask(
        self,
        name: str,
        question: Question,
        reply_type: type[R],
        on_part: Callable[[R], None] | None = None,
    ) -> R:
        async with self._host(name).lease() as worker:
            call = msgspec.structs.replace(question, id=self._call_id())
            return await worker.call(call, reply_type, on_part)

    async def stats(self, name: str) -> StatsReply:
        return await self._ready_worker(name).call(Stats(id=self._call_id()), StatsReply)

    async def slots(self, name: str) -> SlotsReply:
        return await self._ready_worker(name).call(Slots(id=self._call_id()), SlotsReply)

    def _ready_worker(self, name: str) -> WorkerProcess:
        """Return a loaded model's worker; load nothing."""
        worker = self._host(name).ready_worker
        if worker is None:
            raise WorkerError(f"the model {name} is not loaded; send it a request first")
        return worker

    async def samples(self, timeout_s: float) -> list[WorkerSample]:
        return list(await asyncio.gather(*(self._sample(host, timeout_s) for host in self._hosts.values())))

    async def _sample(self, host: HostedModel, timeout_s: float) -> WorkerSample:
        """Ask a model's worker; what it said last stands for one that doesn't answer in time."""
        worker, answered = host.ready_worker, False
        if worker is not None:
            with suppress(TimeoutError, WorkerError):
                await asyncio.wait_for(worker.call(Stats(id=self._call_id()), StatsReply), timeout_s)
                answered = True
        return WorkerSample(
            model=host.entry.name,
            type=host.entry.type,
            state=host.state,
            running=host.n_started,
            waiting=host.n_running - host.n_started + host.n_waiting,
            takes_adapters=bool(self._adapters.all(host.entry.name)),
            figures=host.figures,
            stats=host.latest_stats,
            answered=answered,
        )

    # --- workers ---

    @asynccontextmanager
    async def _lease_for(self, host: HostedModel, request: Work) -> AsyncIterator[WorkerProcess]:
        """Have a ready worker, and let others know that the request runs in it.

        Raises what `HostedModel.worker` raises.
        """
        async with host.lease(request.keep_alive_s) as worker:
            with self._share.running(worker, request):
                yield worker

    def _call_id(self) -> str:
        return f"call-{next(self._ids)}"

    # --- LoRA adapters ---

    def base_of(self, name: str) -> CatalogueEntry:
        """Return the file that serves a name, be it with an adapter. Raises ModelNotFound."""
        return self._resolve(name)[0]

    async def broadcast(self, model: str, message: Callable[[str], AdapterMessage]) -> None:
        """Send the message to each worker of the model that is loaded, or loads, and await the replies.

        Raises the first worker's refusal, and WorkerDied.
        """
        for host in list(self._hosts.values()):
            if host.entry.name == model and host.loaded:
                async with host.lease() as worker:
                    await worker.call(message(self._call_id()), AdapterReply)

    def _resolve(self, name: str) -> tuple[CatalogueEntry, RegisteredAdapter | None]:
        """Return the file and the adapter of `name` or `name:TYPE`, either with `:adapter` at its end.

        Raises ModelNotFound.
        """
        loaded = self._loaded_keys()
        try:
            return self._catalogue.resolve(name, loaded), None
        except ModelNotFound:
            base, _, adapter_name = name.rpartition(":")
            for adapter in self._adapters.all():
                if adapter.name == adapter_name:
                    entry = self._catalogue.resolve(base, loaded)
                    if (match := self._adapters.find(entry.name, adapter_name)) is not None:
                        return entry, match
            raise

    def _with_adapters(self, name: str, request: Work) -> Work:
        """Return the request with its model's default adapters where it names none. Raises RequestError.

        Models that make vectors have none, so that a name with one is refused.
        """
        if not isinstance(request, Generate):
            if not self._adapters.is_empty and self._resolve(name)[1] is not None:
                message = (
                    f"'{name}' is a model with a LoRA adapter; vectors are made without: name the model alone"
                )
                raise RequestError(message, param="model")
            return request
        if self._adapters.is_empty and not request.adapters:
            return request
        entry, adapter = self._resolve(name)
        adapters = self._adapters.select(entry.name, adapter, request.adapters)
        return msgspec.structs.replace(request, adapters=adapters)

    # --- hosts ---

    def _host(self, name: str) -> HostedModel:
        return self._host_of(self._resolve(name)[0])

    def _host_of(self, entry: CatalogueEntry) -> HostedModel:
        host = self._hosts.get(entry.key)
        if host is not None and host.entry != entry:
            host.offer(entry, self._spec_of(entry))
            if self._started:
                self._lengths.note((entry,))
        if host is None:
            spec = self._spec_of(entry)
            comes_back = entry in self._catalogue.served
            life = self.life(entry)
            figures = self.figures.of_workers(entry.name, entry.type)
            host = HostedModel(entry, spec, self._hosting, comes_back=comes_back, life=life, figures=figures)
            if self._stopping:
                host.retire()
            self._hosts[entry.key] = host
        return host

    def _status(self, entry: CatalogueEntry, name: str) -> ModelStatus:
        served, host = entry in self._catalogue.served, self._hosts.get(entry.key)
        if host is not None:
            status = msgspec.structs.replace(host.status(name), served=served)
        else:
            status = ModelStatus(
                name=name, state="available", created=entry.created, type=entry.type, served=served
            )
        if status.info is not None:
            info = status.info
            return msgspec.structs.replace(
                status, n_ctx=info.n_ctx, kind=kind_of(info.pooling), sees_images=info.sees_images
            )
        if entry.projector is not None or served:
            sees_images = self._spec_of(entry).projector_path is not None
            status = msgspec.structs.replace(status, sees_images=sees_images)
        told = self._lengths.of(entry)
        return status if told is None else msgspec.structs.replace(status, n_ctx=told.n_ctx, kind=told.kind)

    def _loaded_keys(self) -> set[str]:
        return {key for key, host in self._hosts.items() if host.loaded}

    async def _spawn(self, spec: ModelSpec, on_progress: OnProgress) -> WorkerProcess:
        await self._lengths.settled()
        told = self._lengths.of_path(spec.path)
        spec = msgspec.structs.replace(
            self._with_adapter_specs(spec), n_ctx_told=None if told is None else told.n_ctx
        )
        return await WorkerProcess.spawn(spec, self._policy, on_progress, self._command, self._environment)

    def _with_adapter_specs(self, spec: ModelSpec) -> ModelSpec:
        """Return the spec with the adapters that a worker of that model is started with now."""
        return msgspec.structs.replace(spec, adapters=self._adapters.specs(spec.name))

    # --- lives ---

    def managed(self) -> list[tuple[str, CatalogueEntry, HostedModel | None]]:
        """Return every file that can be served, by the name that serves it, and its state if it had one."""
        entries = self._catalogue.entries()
        plain = set(self._catalogue.plain(self._loaded_keys()))
        known = {entry.key for entry in entries}
        gone = [host.entry for key, host in self._hosts.items() if key not in known and host.loaded]
        return [
            (entry.name if entry in plain else entry.key, entry, self._hosts.get(entry.key))
            for entry in (*entries, *gone)
        ]

    def host(self, name: str) -> HostedModel:
        """Return the model that serves a name, loaded or not. Raises ModelNotFound."""
        return self._host(name)

    def files_changed(self) -> None:
        """Look at the files anew: some are gone, or new."""
        self._catalogue.forget()

    def spec(self, entry: CatalogueEntry) -> ModelSpec:
        """Return what a worker of a file would be started with."""
        return self._with_adapter_specs(self._spec_of(entry))

    def status(self, entry: CatalogueEntry, name: str) -> ModelStatus:
        """Return a file's status under `name`."""
        return self._status(entry, name)

    def look_again(self) -> None:
        """Let changed wishes have their effect on models that wait for room."""
        self._room.look_again()

    def life(self, entry: CatalogueEntry) -> Life:
        """Return the wishes for a file, which outlast its loads and the file's."""
        if entry.key not in self._lives:
            self._lives[entry.key] = self._policy.lives.life_of(entry.name, entry.key)
        return self._lives[entry.key]
