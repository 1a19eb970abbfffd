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
        body = {"user": f"{number % 7}", "prompt": "tokens 4 0.05"}
        try:
            answer = httpx.post(
                f"http://127.0.0.1:{front}/v1/completions", json=body, timeout=30, trust_env=False
            )
            answers.append(f"{answer.status_code} {answer.json()['choices'][0]['finish_reason']}")
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
                second.send_signal(signal.SIGTERM)
            callers.append(threading.Thread(target=ask, args=(number,)))
            callers[-1].start()
            time.sleep(0.05)
        for caller in callers:
            caller.join(60)
        assert second.wait(60) == 0
    assert len(answers) == 80
    assert set(answers) == {"200 stop"}


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
