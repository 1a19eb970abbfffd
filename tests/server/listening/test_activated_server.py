"""A server at a socket that systemd holds, stopped and started again under load: nobody is refused."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from tests.server.cluster.test_haproxy import wait_for

START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "tests.server.listening.activated_server", sys.argv[2]])
"""
"""The server as systemd starts it: the variables name its own process, the socket is descriptor 3."""


def start(listener: socket.socket, script: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a server at the listener, which stays open here."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-c", START, str(listener.fileno()), str(script)],
            pass_fds=[listener.fileno()],
            stdout=out,
            stderr=out,
        )


def test_a_restart_refuses_nobody(tmp_path: Path) -> None:
    """20 requests per second. What comes between the two servers waits in the socket's queue."""
    script = tmp_path / "one.json"
    script.write_text("{}")
    answers: list[str] = []
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def ask() -> None:
            try:
                answer = httpx.post(
                    f"{url}/v1/completions", json={"prompt": "tokens 4 0.1"}, timeout=60, trust_env=False
                )
                body = answer.json()
                ended = body["choices"][0]["finish_reason"] if answer.status_code == 200 else body
                answers.append(f"{answer.status_code} {ended}")
            except httpx.HTTPError as error:
                answers.append(repr(error))

        callers = [threading.Thread(target=ask) for _ in range(80)]
        first = start(listener, script, tmp_path / "first.log")
        try:
            wait_for(f"{url}/ready")
            for number, caller in enumerate(callers):
                caller.start()
                time.sleep(0.05)
                if number == 20:
                    first.send_signal(signal.SIGTERM)
            assert first.wait(60) == 0
            second = start(listener, script, tmp_path / "second.log")
        finally:
            if first.poll() is None:
                os.kill(first.pid, signal.SIGKILL)
                first.wait()
        try:
            for caller in callers:
                caller.join(90)
        finally:
            second.terminate()
            assert second.wait(60) == 0
    assert [each for each in answers if each != "200 stop"] == [], (tmp_path / "first.log").read_text()
    assert len(answers) == len(callers)
