"""`ModelServer`: the HTTP application and the workers' supervisor, run together until a signal.

A program that serves makes a socket (`listen`), a `ModelServer` for its models, and runs it; `corral serve`
does so with a `ServeObserver` that writes to the terminal. Nothing here writes anywhere but to the log.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import uvicorn

from models.errors import CorralError
from models.paths import Paths
from models.store.store import ModelStore
from server.app import create_app, plain_keys
from server.batches.line_call import LineCaller
from server.batches.records import StorageLimits
from server.batches.runner import BatchRunner
from server.batches.store import BatchStore
from server.config import ServerConfig
from server.hangup import ControllingTerminal
from server.http.connection import ConnectionLimits, protocol
from server.http.dependencies import Api
from server.http.open_files import connection_limit
from server.http.parts import AppParts
from server.ipc.launch import worker_command
from server.jobs.table import JobTable
from server.keys.key_file import KeyFile
from server.keys.key_ring import KeyRing
from server.listener import Listener
from server.listening.http_server import HttpServer
from server.listening.service_manager import ServiceManager
from server.listening.tls_door import handshake_limit
from server.local_models import supervisor_of
from server.pages.store import ChatStore
from server.presets.book import check_models
from server.presets.reload import ReadAgain, SettingsReload
from server.reload import Reloads
from server.responses.records import Limits
from server.responses.store import ResponseStore
from server.supervisor.adapters.converter import AdapterConverter
from server.supervisor.adapters.registry import AdapterRegistry
from server.supervisor.adapters.service import AdapterService
from server.supervisor.catalogue import CatalogueEntry
from server.supervisor.lives import ModelLives
from server.supervisor.process.worker_process import Command
from server.supervisor.protocol import ModelService
from server.tracing.traced_service import TracedService
from server.usage.accounts import Accounts
from server.usage.ledger import UsageLedger

if TYPE_CHECKING:
    from server.tracing.provider import Tracing

logger = logging.getLogger("corral.serve")

READY = "requests are answered"
LAST_BYTES_S = 3.0
"""Answers have this many seconds to leave after the workers have ended."""


class ServedModels(ModelService, Protocol):
    """The models of a server with their lives: a `Supervisor`'s on this machine, or those of a cluster."""

    @property
    def n_running(self) -> int:
        """The requests that run or wait."""

    def start(self) -> None:
        """Begin to load what is served from the start."""

    async def wait_ready(self) -> None:
        """Return once that is loaded. Raises the error of what can't be."""

    async def stop(self, grace_s: float) -> None:
        """Take no more requests, and end; those that run may finish within `grace_s` seconds."""

    def kill(self) -> None:
        """Let `stop` return at once."""


class ServeObserver:
    """Observes the moments of a server's life. Each method does nothing unless it is overridden."""

    async def on_ready(self, models: ServedModels) -> None:
        """The models that were to be loaded at the start are loaded, and requests are answered."""

    def on_draining(self, delay_s: float) -> None:
        """SIGTERM has come; requests are taken for `delay_s` seconds more, or until another signal."""

    def on_stopping(self, n_running: int, grace_s: float) -> None:
        """The first signal has come; `n_running` requests may finish within `grace_s` seconds."""

    def on_stopped(self) -> None:
        """The last worker has ended and the socket is closed."""


def listen(host: str, port: int) -> Listener:
    """Return bound sockets for `ModelServer.run`, one for each address of the host.

    It comes first: nobody should quantize for minutes to learn that the port is in use. Raises ConfigError
    for what is no address, CorralError for one that can't be had.
    """
    return Listener.bind(host, port)


@dataclass(frozen=True, slots=True)
class ModelServer:
    """One server: its settings, its models, and the application's other parts."""

    config: ServerConfig
    models: ServedModels
    parts: AppParts
    tracing: Tracing | None = None
    read_again: ReadAgain | None = None
    """Reads the settings again at SIGHUP and `POST /admin/reload`; None: nothing does."""
    beside: Sequence[Callable[[Api], Awaitable[None]]] = ()
    """These run beside the application for as long as it does."""

    @classmethod
    def of(
        cls,
        config: ServerConfig,
        store: ModelStore,
        served: Sequence[CatalogueEntry],
        draft: CatalogueEntry | None = None,
        registry: AdapterRegistry | None = None,
        command: Command = worker_command,
        read_again: ReadAgain | None = None,
    ) -> ModelServer:
        """Return a server that loads `served` at its start, and other models of the store on demand.

        `draft` is the draft model of those of the start. Models run with the settings that `corral tune` has
        kept, where `config` leaves them open. `command` starts a worker; `read_again` reads `config` again.
        Raises ConfigError for a preset whose model isn't here.
        """
        registry = AdapterRegistry() if registry is None else registry
        supervisor = supervisor_of(config, store, served, draft, registry, command)
        parts = replace(
            kept_parts(config, store.paths),
            adapters=AdapterService(supervisor, registry, AdapterConverter(store.paths.adapters_dir)),
            lives=ModelLives(supervisor, store),
            jobs=JobTable(),
        )
        check_models(config.presets, supervisor.find, supervisor.models)
        known = [each for _, entry, _ in supervisor.managed() for each in (entry.name, entry.key)]
        for name in config.lives.unmet(known):
            logger.warning(
                "--pin, --priority or --model-keep-alive name '%s', which isn't here (yet); `corral list` has"
                " the models' names",
                name,
            )
        return cls(config, supervisor, parts, tracing_of(config), read_again)

    @property
    def service(self) -> ModelService:
        """The models as the application has them."""
        if self.tracing is None:
            return self.models
        return TracedService(self.models, self.tracing.provider)

    @property
    def asks_for_keys(self) -> bool:
        """True if requests need an API key."""
        return self.parts.accounts is not None and self.parts.accounts.keys.asks_for_keys()

    def run(
        self,
        listener: Listener | socket.socket,
        observer: ServeObserver | None = None,
        manager: ServiceManager | None = None,
    ) -> None:
        """Serve until SIGINT or SIGTERM, or until the terminal is closed, in the main thread.

        SIGHUP reads settings again where there are any to read, else it ends the server as well. `manager`
        hears of it all.
        Raises the error of a model that can't be loaded at the start.
        """
        with asyncio.Runner(loop_factory=_new_loop()) as runner:
            listener = listener if isinstance(listener, Listener) else Listener([listener])
            manager = ServiceManager([]) if manager is None else manager
            runner.run(_serve(self, listener, observer or ServeObserver(), manager))


def kept_parts(config: ServerConfig, paths: Paths) -> AppParts:
    """Return the parts that keep something below CORRAL_HOME, as the settings want them."""
    return AppParts(
        responses=ResponseStore(
            paths.responses_file if config.response_store else None,
            Limits(n_bytes=config.response_store_bytes, n_records=config.response_store_count),
        ),
        chats=ChatStore(paths.chats_file if config.web_page else None, config.web_page_bytes),
        batches=BatchStore(
            paths.batches_dir if config.batches else None,
            StorageLimits(file_bytes=config.file_limit_bytes, total_bytes=config.files_bytes),
        ),
        accounts=Accounts(
            KeyRing(plain_keys(config), KeyFile(paths.keys_file)),
            UsageLedger(paths.usage_file if config.usage else None),
        ),
    )


def tracing_of(config: ServerConfig) -> Tracing | None:
    """Return where spans go. Raises ConfigError."""
    if not config.tracing:
        return None
    from server.tracing.provider import set_up_tracing

    return set_up_tracing()


def _new_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


async def _serve(
    model_server: ModelServer, listener: Listener, observer: ServeObserver, manager: ServiceManager
) -> None:
    config, models, parts = model_server.config, model_server.models, model_server.parts
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    app = create_app(config, model_server.service, parts)
    api: Api = app.state.api
    if model_server.read_again is not None:
        reload = SettingsReload(config, model_server.read_again, api.presets, models)
        api.reloads.add("settings", reload)
    signals, tls = _Signals(api.reloads, manager), listener.tls
    if tls is not None:
        api.reloads.add("TLS", tls.reload)
    toolbox = api.toolbox
    if toolbox is not None:
        toolbox.start()
    runner = BatchRunner(
        parts.batches,
        LineCaller(app),
        api.find_for,
        n_at_once=config.batch_parallel,
        line_bytes=config.body_limit_bytes,
    )
    n_connections = connection_limit()
    n_handshakes = 0 if tls is None else handshake_limit(n_connections)
    app.openapi()  # it takes as long as ten answers, so it isn't made while somebody waits
    server = HttpServer(
        uvicorn.Config(
            app,
            http=protocol(ConnectionLimits(n_connections=n_connections - n_handshakes)),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            ws="none",
        ),
        tls,
        n_handshakes,
    )
    # A full collection would look at all modules' objects each time: some 50 ms in which nobody is served.
    gc.collect()
    gc.freeze()
    serving = asyncio.create_task(server.serve(sockets=listener.sockets))
    beside = [asyncio.ensure_future(manager.show_life())]
    beside += [asyncio.ensure_future(run(api)) for run in model_server.beside]
    if tls is not None:
        beside.append(asyncio.create_task(tls.watch()))
    for each in beside:
        each.add_done_callback(_log_defect)
    stopped = asyncio.create_task(signals.first.wait())
    models.start()
    ready = asyncio.create_task(models.wait_ready())
    await asyncio.wait([ready, stopped, serving], return_when=asyncio.FIRST_COMPLETED)
    failure = ready.exception() if ready.done() and not ready.cancelled() else None
    if failure is None and ready.done():
        runner.start()
        await observer.on_ready(models)
        manager.ready(READY)
        await asyncio.wait([stopped, serving], return_when=asyncio.FIRST_COMPLETED)
    grace_s = 0.0 if failure else config.shutdown_grace_s
    manager.stopping("requests that run may finish")
    api.drain.begin()
    await runner.stop()
    if signals.asks_to_drain and ready.done() and failure is None and config.drain_delay_s:
        observer.on_draining(config.drain_delay_s)
        await _drain(server, serving, signals, config.drain_delay_s)
    observer.on_stopping(models.n_running, grace_s)
    ending = asyncio.gather(parts.stop_jobs(), *([toolbox.close()] if toolbox else []))
    await _shut_down(server, serving, models, signals, grace_s)
    await api.turns.stop_all()
    await ending
    await parts.close()
    if model_server.tracing is not None:
        await model_server.tracing.stop()
    observer.on_stopped()
    for task in (ready, stopped, *beside):
        task.cancel()
    with suppress(asyncio.CancelledError, CorralError):
        await ready
    if failure is not None:
        raise failure


def _log_defect(task: asyncio.Future[None]) -> None:
    """Log what has ended a task that nobody awaits."""
    if not task.cancelled() and (defect := task.exception()) is not None:
        logger.error("a task of the server met a defect and goes on no more", exc_info=defect)


async def _drain(server: HttpServer, serving: asyncio.Task[None], signals: _Signals, delay_s: float) -> None:
    """Go on taking requests for `delay_s` seconds, or until a further signal, which is used up by that."""
    server.close_after_answers()
    further = asyncio.create_task(signals.second.wait())
    await asyncio.wait([further, serving], timeout=delay_s, return_when=asyncio.FIRST_COMPLETED)
    further.cancel()
    signals.second.clear()


async def _shut_down(
    server: HttpServer,
    serving: asyncio.Task[None],
    models: ServedModels,
    signals: _Signals,
    grace_s: float,
) -> None:
    """Stop listening, let running requests finish, end the workers; a second signal makes it immediate."""
    await server.stop_accepting()
    server.should_exit = True
    stopping = asyncio.create_task(models.stop(grace_s))
    hurried = asyncio.create_task(signals.second.wait())
    await asyncio.wait([stopping, hurried], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        models.kill()
    await stopping
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(serving), 0.1 if hurried.done() else LAST_BYTES_S)
    server.force_exit = True
    await serving
    hurried.cancel()


class _Signals:
    """SIGINT and SIGTERM as events: the first asks to stop, the second to stop now.

    Only SIGTERM comes from a program that may have a balancer, so only it asks to drain.

    SIGHUP has `reloads` run, and the service manager hears of it. Where there are none, or the terminal was
    closed, it asks to stop as well, but never hurries. Where `nohup` has it ignored, it stays ignored.
    """

    def __init__(self, reloads: Reloads, manager: ServiceManager) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.asks_to_drain = False
        self._reloads = reloads
        self._manager = manager
        self._terminal = ControllingTerminal()
        self._reloading: set[asyncio.Task[object]] = set()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._receive, number)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _receive(self, number: int) -> None:
        if self.first.is_set():
            self.second.set()
        else:
            self.asks_to_drain = number == signal.SIGTERM
            self.first.set()

    def _hang_up(self) -> None:
        if (self._reloads.is_empty and not self._manager.listens) or self._terminal.is_closed:
            self.first.set()
            return
        task = asyncio.create_task(self._reload())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _reload(self) -> None:
        self._manager.reloading()
        await self._reloads.run()
        self._manager.ready(READY)
