"""A server as a program runs it: no command line, nothing written to the terminal."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import signal
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.errors import ConfigError, CorralError
from models.paths import Paths
from models.store.store import ModelStore
from server.config import ServerConfig
from server.config_sources import load_config
from server.listener import Listener
from server.listening.service_manager import ServiceManager
from server.listening.tls import TlsFiles
from server.listening.unix_socket import UnixListener
from server.serve import ModelServer, ServedModels, ServeObserver, listen
from server.supervisor.catalogue import CatalogueEntry
from tests.server.listening.certificates import make_pair
from tests.server.supervisor.conftest import WriteScript, script, scripted_command

__all__ = ["script"]

CONFIG = ServerConfig(port=0, shutdown_grace_s=3.0)


class Observer(ServeObserver):
    """Asks for the list of models when the server is ready, then ends it as Ctrl-C does."""

    def __init__(self, listener: Listener) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.moments: list[Any] = []

    async def on_ready(self, models: ServedModels) -> None:
        self.moments.append(("ready", await asyncio.to_thread(self.models), models.n_running))
        os.kill(os.getpid(), signal.SIGINT)

    def on_stopping(self, n_running: int, grace_s: float) -> None:
        self.moments.append(("stopping", n_running, grace_s))

    def on_stopped(self) -> None:
        self.moments.append("stopped")

    def models(self) -> Any:
        with urllib.request.urlopen(f"{self.url}/v1/models", timeout=10) as response:  # noqa: S310
            return json.load(response)["data"]


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths.from_environment({"CORRAL_HOME": str(tmp_path), "HOME": str(tmp_path)}))


def test_a_program_serves_and_observes(store: ModelStore, capfd: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as listener:
        observer = Observer(listener)
        ModelServer.of(CONFIG, store, []).run(listener, observer)
    assert observer.moments == [("ready", [], 0), ("stopping", 0, 3.0), "stopped"]
    assert capfd.readouterr() == ("", "")


def test_wishes_for_models_that_are_not_here_are_told(
    store: ModelStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "one.gguf"
    entry = CatalogueEntry(name="one", path=path, type="F32", size_bytes=1, created=0)
    config = ServerConfig(
        port=0, pin=("one", "other:q4_k_m"), priority=("one:F32=2",), model_keep_alive=("third=5m",)
    )
    ModelServer.of(config, store, [entry])
    told = [record.getMessage() for record in caplog.records if "which isn't here" in record.getMessage()]
    assert [message.split("'")[1] for message in told] == ["other:Q4_K_M", "third"]


def test_a_hangup_reads_the_settings_again(
    store: ModelStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server goes on, with what it had: the preset's model isn't here."""
    path = tmp_path / "corral.toml"
    path.write_text("")

    class HangingUp(ServeObserver):
        async def on_ready(self, models: ServedModels) -> None:
            self.was_read = asyncio.Event()
            self.loop = asyncio.get_running_loop()
            os.kill(os.getpid(), signal.SIGHUP)
            await self.was_read.wait()
            os.kill(os.getpid(), signal.SIGTERM)

        def read(self) -> ServerConfig:
            path.write_text("[presets]\nfast = 'demo'\n")
            self.loop.call_soon_threadsafe(self.was_read.set)
            return load_config({}, {}, path)

    observer = HangingUp()
    with listen("127.0.0.1", 0) as listener:
        ModelServer.of(CONFIG, store, [], read_again=observer.read).run(listener, observer)
    assert "settings: nothing was changed" in caplog.text
    assert "corral.toml, line 2: presets.fast.model: the model 'demo' isn't here" in caplog.text


def test_a_preset_of_a_model_that_is_not_here_is_refused_at_the_start(
    store: ModelStore, tmp_path: Path
) -> None:
    path = tmp_path / "corral.toml"
    path.write_text("[presets]\nfast = 'demo'\n")
    with pytest.raises(ConfigError, match=r"line 2: .*the model 'demo' isn't here"):
        ModelServer.of(load_config({}, {}, path), store, [])


def test_every_address_of_a_name_answers_and_what_is_no_http_is_told_so(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = ["127.0.0.1", "127.0.0.2"]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        listener = listen("box", 0)

    class Asking(ServeObserver):
        answers: list[bytes]

        async def on_ready(self, models: ServedModels) -> None:
            self.answers = [await asyncio.to_thread(ask, address) for address in addresses]
            os.kill(os.getpid(), signal.SIGHUP)

    def ask(address: str) -> bytes:
        with socket.create_connection((address, listener.getsockname()[1]), timeout=10) as client:
            client.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
            return b"".join(iter(lambda: client.recv(4096), b""))

    observer = Asking()
    with listener:
        ModelServer.of(CONFIG, store, []).run(listener, observer)
    assert len(observer.answers) == 2
    for answer in observer.answers:
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"


def test_a_service_with_tls_and_a_unix_socket_reloads(
    store: ModelStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "corral.serve")
    pair = make_pair(tmp_path)
    trusting = ssl.create_default_context(cafile=pair.certificate)
    hears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hears.bind(str(tmp_path / "notify"))
    hears.settimeout(60)
    manager = ServiceManager.from_environment({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    told: list[str] = []

    def by_tls(port: int) -> int:
        opened = urllib.request.urlopen(f"https://localhost:{port}/v1/models", timeout=20, context=trusting)
        with opened:
            return int(opened.status)

    def by_socket() -> bytes:
        """Ask as a proxy with a public name does, and as a page of another origin through it."""
        answers = b""
        for origin in (b"https://corral.example.com", b"https://evil.example.com"):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(60)
                client.connect(str(tmp_path / "corral.sock"))
                head = b"GET /v1/models HTTP/1.1\r\nHost: corral.example.com\r\nOrigin: %b\r\n" % origin
                client.sendall(head + b"Connection: close\r\n\r\n")
                answers += client.recv(4096).partition(b"\r\n")[0] + b";"
        return answers

    def hear() -> None:
        told.append(hears.recv(1000).decode().partition("\n")[0])

    class Asking(ServeObserver):
        async def on_ready(self, models: ServedModels) -> None:
            assert await asyncio.to_thread(by_tls, inet.getsockname()[1]) == 200
            assert await asyncio.to_thread(by_socket) == b"HTTP/1.1 200 OK;HTTP/1.1 403 Forbidden;"
            os.kill(os.getpid(), signal.SIGHUP)
            for _ in range(2):
                await asyncio.to_thread(hear)
            os.kill(os.getpid(), signal.SIGTERM)

    with listen("127.0.0.1", 0) as inet, UnixListener.at(tmp_path / "corral.sock", 0o600) as unix, hears:
        both = Listener([*unix.sockets, *inet.sockets], TlsFiles(*pair))
        ModelServer.of(CONFIG, store, []).run(both, Asking(), manager)
        for _ in range(2):
            hear()
    assert told == ["RELOADING=1", "READY=1", "READY=1", "STOPPING=1"]
    assert "TLS: read again, nothing has changed" in caplog.text


class Balancer:
    """Sends ten requests a second to each of some doors, for a while after the first says it isn't ready."""

    def __init__(self, doors: Sequence[Callable[[], httpx.Client]]) -> None:
        self._doors = doors
        self.answers: list[str] = []
        self.saw_503 = threading.Event()
        self._callers: list[threading.Thread] = []

    def run(self, after_s: float) -> None:
        """Return when no further request is sent; the last ones may still be answered."""
        end_s = math.inf
        while time.monotonic() < end_s:
            for door in self._doors:
                self._callers.append(threading.Thread(target=self._ask, args=(door,)))
                self._callers[-1].start()
            time.sleep(0.1)
            if end_s == math.inf and self._is_stopping():
                self.saw_503.set()
                end_s = time.monotonic() + after_s

    def join(self) -> None:
        for caller in self._callers:
            caller.join(30)

    def _is_stopping(self) -> bool:
        with self._doors[0]() as client:
            answer = client.get("/ready")
        return answer.status_code == 503 and answer.json()["error"]["code"] == "server_stopping"

    def _ask(self, door: Callable[[], httpx.Client]) -> None:
        try:
            with door() as client:
                answer = client.post("/v1/completions", json={"prompt": "tokens 4 0.1"})
            self.answers.append(f"{answer.status_code} {answer.json()['choices'][0]['finish_reason']}")
        except (httpx.HTTPError, KeyError) as error:
            self.answers.append(repr(error))


def test_nobody_is_refused_while_balancers_have_yet_to_notice(
    store: ModelStore, script: WriteScript, tmp_path: Path
) -> None:
    """20 requests per second, over TLS and a unix socket, until a second after `/ready` has said 503.

    A second SIGTERM ends the delay, and whatever runs is answered all the same.
    """
    pair = make_pair(tmp_path)
    trusting = ssl.create_default_context(cafile=pair.certificate)

    def by_tls() -> httpx.Client:
        url = f"https://localhost:{inet.getsockname()[1]}"
        return httpx.Client(base_url=url, verify=trusting, timeout=30, trust_env=False)

    def by_socket() -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(tmp_path / "corral.sock"))
        return httpx.Client(base_url="http://corral", transport=transport, timeout=30)

    balancer = Balancer([by_tls, by_socket])

    class Draining(ServeObserver):
        async def on_ready(self, models: ServedModels) -> None:
            def send() -> None:
                balancer.run(after_s=1.0)
                os.kill(os.getpid(), signal.SIGTERM)

            self.sending = threading.Thread(target=send)
            self.sending.start()
            await asyncio.sleep(0.5)
            os.kill(os.getpid(), signal.SIGTERM)

        def on_draining(self, delay_s: float) -> None:
            self.delay_s = delay_s

        def on_stopping(self, n_running: int, grace_s: float) -> None:
            self.n_running = n_running

    observer = Draining()
    config = ServerConfig(port=0, drain_delay_s=60.0, shutdown_grace_s=10.0)
    with listen("127.0.0.1", 0) as inet, UnixListener.at(tmp_path / "corral.sock", 0o600) as unix:
        both = Listener([*unix.sockets, *inet.sockets], TlsFiles(*pair))
        ModelServer.of(config, store, [script("one")], command=scripted_command).run(both, observer)
    balancer.join()
    observer.sending.join()
    assert balancer.saw_503.is_set()
    assert observer.delay_s == 60.0
    assert observer.n_running > 0, "the second signal came while answers were being written"
    assert len(balancer.answers) >= 20
    assert set(balancer.answers) == {"200 stop"}


@pytest.mark.parametrize(("number", "least_s"), [(signal.SIGTERM, 0.4), (signal.SIGINT, 0.0)])
def test_the_delay_is_for_sigterm_and_has_an_end(
    store: ModelStore, number: signal.Signals, least_s: float
) -> None:
    """At the terminal nobody waits. During the delay each answer ends its connection."""

    class Stopping(ServeObserver):
        connection = ""

        async def on_ready(self, models: ServedModels) -> None:
            self.begun_s = time.monotonic()
            os.kill(os.getpid(), number)

        def on_draining(self, delay_s: float) -> None:
            self.asking = asyncio.create_task(asyncio.to_thread(self.ask))

        def ask(self) -> None:
            answer = httpx.get(f"http://127.0.0.1:{listener.getsockname()[1]}/health", trust_env=False)
            self.connection = answer.headers["connection"]

        def on_stopping(self, n_running: int, grace_s: float) -> None:
            self.took_s = time.monotonic() - self.begun_s

    observer = Stopping()
    with listen("127.0.0.1", 0) as listener:
        ModelServer.of(ServerConfig(port=0, drain_delay_s=0.4), store, []).run(listener, observer)
    assert observer.took_s >= least_s
    assert observer.connection == ("close" if least_s else "")


def test_a_port_in_use_is_an_error_with_a_fix() -> None:
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(CorralError, match=f"port {port} on 127.0.0.1 is in use.*--port"):
            listen("127.0.0.1", port)


def test_what_is_no_address_is_an_error_of_the_settings() -> None:
    with pytest.raises(ConfigError, match="is no address to listen on"):
        listen("no.such.address.invalid", 0)
