"""Runs the HTTP server and the supervisor together, from the listening socket to the last process's end."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from models.errors import ConfigError, CorralError
from server.app import create_app
from server.cli.console import say
from server.cli.serve.banner import describe
from server.config import ServerConfig
from server.supervisor.adapter_service import AdapterService
from server.supervisor.supervisor import Supervisor

logger = logging.getLogger("corral.serve")

LAST_BYTES_S = 3.0
"""How long answers may take to leave after the workers have ended."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which would end the process before the workers are seen off."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """A socket for `run`, taken first: nobody should quantize for minutes to learn that the port is in use.

    Raises ConfigError for what is no address, CorralError for one that can't be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(f"{host} is no address to listen on ({error.strerror}); check --host") from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CorralError(
                f"port {port} on {host} is in use; stop what listens there, or choose another with --port"
            ) from error
        raise CorralError(
            f"can't listen on {host}, port {port}: {error.strerror}; check --host and --port"
        ) from error
    return listener


def run(
    config: ServerConfig, supervisor: Supervisor, adapters: AdapterService, listener: socket.socket
) -> None:
    """Serve until SIGINT or SIGTERM. Raises what a model that was to be loaded failed with."""
    with asyncio.Runner(loop_factory=_new_loop()) as runner:
        runner.run(_serve(config, supervisor, adapters, listener))


def _new_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


async def _serve(
    config: ServerConfig, supervisor: Supervisor, adapters: AdapterService, listener: socket.socket
) -> None:
    signals = _Signals()
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = _Server(
        uvicorn.Config(
            create_app(config, supervisor, adapters),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            ws="none",
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopped = asyncio.create_task(signals.first.wait())
    supervisor.start()
    ready = asyncio.create_task(supervisor.wait_ready())
    await asyncio.wait([ready, stopped, serving], return_when=asyncio.FIRST_COMPLETED)
    failure = ready.exception() if ready.done() and not ready.cancelled() else None
    if failure is None and ready.done():
        say(await describe(config, supervisor, listener))
        await asyncio.wait([stopped, serving], return_when=asyncio.FIRST_COMPLETED)
    await _shut_down(server, serving, supervisor, signals, 0.0 if failure else config.shutdown_grace_s)
    for task in (ready, stopped):
        task.cancel()
    with suppress(asyncio.CancelledError, CorralError):
        await ready
    if failure is not None:
        raise failure


async def _shut_down(
    server: _Server,
    serving: asyncio.Task[None],
    supervisor: Supervisor,
    signals: _Signals,
    grace_s: float,
) -> None:
    """Stop listening, let what runs finish, end the workers; a second signal makes all of it immediate."""
    n_running = supervisor.n_running
    if n_running:
        what = "1 request" if n_running == 1 else f"{n_running} requests"
        say(f"stopping: {what} may finish within {grace_s:.0f} s; Ctrl-C again to stop now")
    server.should_exit = True
    stopping = asyncio.create_task(supervisor.stop(grace_s))
    hurried = asyncio.create_task(signals.second.wait())
    await asyncio.wait([stopping, hurried], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        supervisor.kill()
    await stopping
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(serving), 0.1 if hurried.done() else LAST_BYTES_S)
    server.force_exit = True
    await serving
    hurried.cancel()
    say("stopped")


class _Signals:
    """SIGINT and SIGTERM as events: the first asks to stop, the second to stop now."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._take)

    def _take(self) -> None:
        (self.second if self.first.is_set() else self.first).set()
