"""HAProxy's file, and HAProxy itself before two servers of which one dies and one stops."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from models.errors import ConfigError
from server.cluster.haproxy import Address, haproxy_config
from tests.e2e.running import free_port

HAPROXY = os.environ.get("CORRAL_HAPROXY") or shutil.which("haproxy")
needs_haproxy = pytest.mark.skipif(
    HAPROXY is None, reason="haproxy isn't here; install it, or name it by CORRAL_HAPROXY"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", "10.0.0.1:8000"),
        ("gpu-1.lab:9000", "gpu-1.lab:9000"),
        ("[2001:db8::1]", "[2001:db8::1]:8000"),
        ("http://10.0.0.1:80/", "10.0.0.1:80"),
        ("https://corral.example", "corral.example:8000"),
    ],
)
def test_addresses(text: str, expected: str) -> None:
    address = Address.parse(text)
    assert str(address) == expected
    assert address.tls is text.startswith("https")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "a b",
        "a:b",
        "a:0",
        "a:65536",
        "a/b",
        "ftp://a",
        "2001:db8::1",
        "[10.0.0.1]",
        "a\nbind *:1",
        "-a",
    ],
)
def test_what_is_no_address_never_gets_into_the_file(text: str) -> None:
    with pytest.raises(ConfigError, match="give"):
        Address.parse(text)


def test_each_server_once_and_one_at_least() -> None:
    one = Address("a", 1)
    with pytest.raises(ConfigError, match="there are no servers"):
        haproxy_config([], one)
    with pytest.raises(ConfigError, match="a:1 is named twice"):
        haproxy_config([one, Address("b", 1), one], one)


@needs_haproxy
def test_haproxy_takes_the_file(tmp_path: Path) -> None:
    servers = [Address("10.0.0.1", 8000), Address("2001:db8::1", 8000), Address("127.0.0.1", 8443, tls=True)]
    path = tmp_path / "haproxy.cfg"
    path.write_text(haproxy_config(servers, Address("127.0.0.1", 8080)))
    assert HAPROXY is not None
    checked = subprocess.run([HAPROXY, "-c", "-f", path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process, killed at the end unless it has gone."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{url} doesn't answer")


@needs_haproxy
def test_no_answer_is_lost_that_has_not_begun(tmp_path: Path) -> None:
    """20 requests per second; a server is killed and comes back, then the other one is stopped."""
    script = tmp_path / "one.json"
    script.write_text("{}")
    ports = [free_port(), free_port()]
    front = free_port()
    path = tmp_path / "haproxy.cfg"
    servers = [Address("127.0.0.1", port) for port in ports]
    path.write_text(haproxy_config(servers, Address("127.0.0.1", front)))
    assert HAPROXY is not None

    def server(index: int) -> list[str]:
        return [sys.executable, "-m", "tests.server.cluster.scripted_server", str(ports[index]), str(script)]

    answers: list[str] = []

    def ask(number: int) -> None:
        asked = {"user": f"{number % 7}", "prompt": "tokens 4 0.05"}
        try:
            answer = httpx.post(
                f"http://127.0.0.1:{front}/v1/completions", json=asked, timeout=30, trust_env=False
            )
            body = answer.json()
            ended = body["choices"][0]["finish_reason"] if answer.status_code == 200 else body
            answers.append(f"{answer.status_code} {ended}")
        except (httpx.HTTPError, KeyError, ValueError) as error:
            answers.append(repr(error))

    with ExitStack() as stack:
        first, second = (
            stack.enter_context(running(server(index), tmp_path / f"{index}.log")) for index in range(2)
        )
        for port in ports:
            wait_for(f"http://127.0.0.1:{port}/ready")
        stack.enter_context(running([HAPROXY, "-f", str(path)], tmp_path / "haproxy.log"))
        wait_for(f"http://127.0.0.1:{front}/ready")
        callers = []
        for number in range(80):
            if number == 15:
                first.kill()
            if number == 16:
                first.wait()
                stack.enter_context(running(server(0), tmp_path / "again.log"))
            if number == 45:
                wait_for(f"http://127.0.0.1:{ports[0]}/ready")
                time.sleep(1.0)  # until HAProxy has seen that, too
                second.send_signal(signal.SIGTERM)
            callers.append(threading.Thread(target=ask, args=(number,)))
            callers[-1].start()
            time.sleep(0.05)
        for caller in callers:
            caller.join(60)
        assert second.wait(60) == 0
    log = (tmp_path / "haproxy.log").read_text()
    assert [each for each in answers if each != "200 stop"] == [], log
    assert len(answers) == 80


@needs_haproxy
def test_without_a_server_the_error_is_openais(tmp_path: Path) -> None:
    front, nobody = free_port(), free_port()
    path = tmp_path / "haproxy.cfg"
    path.write_text(haproxy_config([Address("127.0.0.1", nobody)], Address("127.0.0.1", front)))
    assert HAPROXY is not None
    with running([HAPROXY, "-f", str(path)], tmp_path / "haproxy.log"):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", front)) == 0:
                    break
            time.sleep(0.05)
        answer = httpx.post(f"http://127.0.0.1:{front}/v1/completions", json={}, trust_env=False, timeout=30)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.headers["retry-after"] == "1"


class _Named(BaseHTTPRequestHandler):
    """Answers with the port at which it is."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer()

    def _answer(self) -> None:
        assert isinstance(self.server, ThreadingHTTPServer)
        body = str(self.server.server_port).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@needs_haproxy
def test_what_stays_together(tmp_path: Path) -> None:
    """A session that is named stays with one server; else a key that is; else bodies that begin alike."""
    assert HAPROXY is not None
    front = free_port()
    path = tmp_path / "haproxy.cfg"
    with ExitStack() as stack:
        servers = [stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), _Named)) for _ in range(2)]
        for server in servers:
            threading.Thread(target=server.serve_forever).start()
            stack.callback(server.shutdown)
        addresses = [Address("127.0.0.1", server.server_port) for server in servers]
        path.write_text(haproxy_config(addresses, Address("127.0.0.1", front)))
        stack.enter_context(running([HAPROXY, "-f", str(path)], tmp_path / "haproxy.log"))
        wait_for(f"http://127.0.0.1:{front}/")
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{front}", trust_env=False))

        def place(body: str, **headers: str) -> str:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return client.post("/v1/completions", content=body, headers=named).text

        spread = [place(f"{number} x") for number in range(20)]
        assert len(set(spread)) == 2
        assert [place(f"{number} x") for number in range(20)] == spread
        keyed = [place("x", x_corral_prefix=str(number)) for number in range(20)]
        assert len(set(keyed)) == 2
        named = [place("x", x_session_id=str(number)) for number in range(20)]
        assert len(set(named)) == 2
        for number in range(20):
            assert place(f"{number}", x_corral_prefix="0") == keyed[0]
            assert place(f"{number}", x_corral_prefix=f"{number}", x_session_id="0") == named[0]
        assert client.get("/v1/responses/r", headers={"x-session-id": "0"}).text == named[0]
