from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from models.errors import ConfigError
from server.http.connection import ConnectionLimits, protocol
from server.listener import Listener
from server.listening.certificate import validity_of
from server.listening.http_server import HttpServer
from server.listening.tls import TlsFiles
from tests.server.listening.certificates import Pair, make_pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("tls"), "other", days=100)


def copy(source: Pair, folder: Path) -> Pair:
    """Put a pair where a server's is, with its access rights."""
    for path, name in zip(source, ("cert.pem", "key.pem"), strict=True):
        shutil.copy2(path, folder / name)
    return Pair(folder / "cert.pem", folder / "key.pem")


# --- the files ---


def test_the_times_of_a_certificate(pair: Pair, other: Pair) -> None:
    for each, days in ((pair, 365), (other, 100)):
        begin, end = validity_of(each.certificate.read_text())
        assert end - begin == timedelta(days=days)
        assert abs(datetime.now(UTC) - begin) < timedelta(minutes=10)
    _, end = validity_of("words before it\n" + pair.certificate.read_text() + other.certificate.read_text())
    assert end - datetime.now(UTC) > timedelta(days=364), "the first one counts"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nMAIwAA==\n-----END CERTIFICATE-----",
    ],
)
def test_what_has_no_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"it has no PEM certificate|can't be read"):
        validity_of(text)


def test_a_generalized_time() -> None:
    def element(tag: int, *parts: bytes) -> bytes:
        content = b"".join(parts)
        return bytes((tag, len(content))) + content

    times = element(0x30, element(0x17, b"491231235959Z"), element(0x18, b"20500101000000Z"))
    before = (element(0x02, b"\x01"), element(0x30), element(0x30))
    der = element(0x30, element(0x30, *before, times))
    begin, end = validity_of(ssl.DER_cert_to_PEM_cert(der))
    assert (begin.year, end.year) == (2049, 2050)


def test_pairs_that_are_refused(pair: Pair, other: Pair, tmp_path: Path) -> None:
    no_pem, locked = tmp_path / "no.pem", tmp_path / "locked.key"
    no_pem.write_text("hello")
    openssl = shutil.which("openssl")
    assert openssl is not None
    lock = [openssl, "pkcs8", "-topk8", "-in", str(pair.key), "-out", str(locked), "-passout", "pass:secret"]
    subprocess.run(lock, check=True, capture_output=True)
    cases = [
        (pair.certificate, other.key, "doesn't belong to the certificate"),
        (tmp_path / "none.pem", pair.key, "can't read --tls-cert .*No such file"),
        (pair.certificate, tmp_path / "none.key", "can't read --tls-key .*No such file"),
        (tmp_path, pair.key, "can't read --tls-cert .*Is a directory"),
        (no_pem, pair.key, "--tls-cert .* has no PEM certificate"),
        (pair.certificate, no_pem, "--tls-key .* has no PEM key"),
        (pair.certificate, locked, "has a password"),
        (pair.key, pair.key, "--tls-cert .* has no PEM certificate"),
        (pair.key, pair.certificate, "--tls-key .* has no PEM key"),
    ]
    for certificate, key, message in cases:
        with pytest.raises(ConfigError, match=message):
            TlsFiles(certificate, key)


def test_times_that_are_refused(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    now = datetime.now(UTC)
    for days, message in ((366, "has expired on"), (-2, "isn't valid before")):
        with pytest.raises(ConfigError, match=message):
            TlsFiles(*pair, now=lambda: now + timedelta(days=days))  # noqa: B023
    TlsFiles(*pair, now=lambda: now + timedelta(days=300))
    assert not caplog.records
    TlsFiles(*pair, now=lambda: now + timedelta(days=360))
    assert "expires in 4 days" in caplog.text


def test_a_key_that_others_can_read(pair: Pair, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine = copy(pair, tmp_path)
    for mode, warns in ((0o600, False), (0o640, False), (0o644, True), (0o620, True)):
        caplog.clear()
        mine.key.chmod(mode)
        TlsFiles(*mine)
        assert ("chmod 600" in caplog.text) is warns, oct(mode)


# --- a server ---


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the URL's scheme."""
    body = scope["scheme"].encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


LOOPS = ["asyncio", "uvloop"]


def run(
    loop: str, listener: Listener, act: Callable[[int], Awaitable[None]], n_handshakes: int = 100
) -> None:
    """Serve `app` on the listener in that event loop while `act(port)` runs."""
    factory = None if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop

    async def serve() -> None:
        config = uvicorn.Config(
            app, http=protocol(ConnectionLimits()), lifespan="off", log_config=None, ws="none"
        )
        server = HttpServer(config, listener.tls, n_handshakes)
        serving = asyncio.create_task(server.serve(sockets=listener.sockets))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
        try:
            await act(0 if listener.unix_path else listener.getsockname()[1])
        finally:
            server.should_exit = True
            await serving

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve())


class Client:
    """A connection that stays open. `name` is what the handshake asks for; None: nothing."""

    def __init__(
        self, port: int, trusted: Pair, name: str | None = "localhost", **versions: ssl.TLSVersion
    ) -> None:
        context = ssl.create_default_context(cafile=trusted.certificate)
        for attribute, version in versions.items():
            setattr(context, attribute, version)
        host = "127.0.0.1" if name is None else name
        self.connection = HTTPSConnection(host, port, timeout=20, context=context)

    def get(self) -> str:
        try:
            self.connection.request("GET", "/")
            return self.connection.getresponse().read().decode()
        except OSError:
            self.connection.close()
            raise

    def get_once(self) -> str:
        with contextlib.closing(self.connection):
            return self.get()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_change_is_for_handshakes_to_come(
    pair: Pair, other: Pair, tmp_path: Path, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "corral.serve")
    mine = copy(pair, tmp_path)
    tls = TlsFiles(*mine)
    listener = Listener.bind("127.0.0.1", 0)
    listener.tls = tls

    async def act(port: int) -> None:
        old = Client(port, pair)
        assert await asyncio.to_thread(old.get) == "https"
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(Client(port, other).get_once)
        await tls.look()
        assert not caplog.records
        shutil.copy(other.key, mine.key)  # one of the two has come: that is no pair
        await tls.look()
        assert "doesn't belong" in caplog.text
        assert "stays in use" in caplog.text
        assert await asyncio.to_thread(Client(port, pair).get_once) == "https"
        with pytest.raises(ConfigError, match="doesn't belong"):
            await tls.reload()
        shutil.copy(other.certificate, mine.certificate)
        caplog.clear()
        await tls.look()
        assert "was read anew" in caplog.text
        for name in ("localhost", None):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                new = Client(port, other, name, minimum_version=version, maximum_version=version)
                assert await asyncio.to_thread(new.get_once) == "https"
                with pytest.raises(ssl.SSLCertVerificationError):
                    await asyncio.to_thread(Client(port, pair, name).get_once)
        assert await asyncio.to_thread(old.get) == "https", "its connection goes on"
        old.connection.close()
        assert await tls.reload() == []

    run(loop, listener, act)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_no_request_is_answered_under_tls_too(pair: Pair, loop: str) -> None:
    listener = Listener.bind("127.0.0.1", 0)
    listener.tls = TlsFiles(*pair)

    def ask(port: int) -> bytes:
        context = ssl.create_default_context(cafile=pair.certificate)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
        ):
            client.sendall(b"this is no request\r\n\r\n")
            answer = b""
            while part := client.recv(4096):
                answer += part
            return answer

    async def act(port: int) -> None:
        assert (await asyncio.to_thread(ask, port)).startswith(b"HTTP/1.1 400 ")

    run(loop, listener, act)


@pytest.mark.parametrize("loop", LOOPS)
def test_handshakes_that_come_to_no_end_keep_nobody_out(pair: Pair, loop: str) -> None:
    listener = Listener.bind("127.0.0.1", 0)
    listener.tls = TlsFiles(*pair)

    def connect(port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=20)

    async def act(port: int) -> None:
        through = Client(port, pair)
        assert await asyncio.to_thread(through.get) == "https"
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(connect(port)) for _ in range(7)]
            for oldest in silent[:4]:
                assert await asyncio.to_thread(oldest.recv, 1) == b"", "it makes room"
            for other in silent[4:]:
                other.setblocking(False)
                with pytest.raises(BlockingIOError):
                    other.recv(1)
            assert await asyncio.to_thread(Client(port, pair).get_once) == "https"
            assert await asyncio.to_thread(through.get) == "https", "it doesn't count any more"
            silent[4].settimeout(20)
            assert await asyncio.to_thread(silent[4].recv, 1) == b"", "a client that comes has its place"
            through.connection.close()

    run(loop, listener, act, n_handshakes=3)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_ends_waits_for_no_handshake(pair: Pair, loop: str) -> None:
    listener = Listener.bind("127.0.0.1", 0)
    listener.tls = TlsFiles(*pair)
    silent: list[socket.socket] = []
    address = listener.getsockname()

    async def act(port: int) -> None:
        silent.append(socket.create_connection(address, timeout=20))
        assert await asyncio.to_thread(Client(port, pair).get_once) == "https"

    begun_s = time.monotonic()
    run(loop, listener, act)
    assert time.monotonic() - begun_s < 10.0
    with contextlib.closing(silent[0]) as client, contextlib.suppress(ConnectionError):
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=20)
