"""`corral serve` as a process, on a tiny model: ready, stopped, killed, refused."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.server.cli.conftest import Corral, corral_command

pytestmark = pytest.mark.model


class Server:
    """A `corral serve` that is ready."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as response:  # noqa: S310
            return json.load(response)

    def open_stream(self, **extra: object) -> Any:
        body = {"prompt": "cat", "stream": True, "ignore_eos": True, **extra}
        data = json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/v1/completions", data, {"Content-Type": "application/json"}
        )
        return urllib.request.urlopen(request, timeout=60)  # noqa: S310

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def serving(env: dict[str, str], *arguments: str, **options: Any) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        corral_command("serve", *arguments, "--port", str(port)),
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    server = Server(process, port)
    server.reader.start()
    try:
        wait_until_ready(server)
        yield server
    finally:
        process.kill()
        process.wait()
        server.reader.join()
        assert process.stderr is not None
        process.stderr.close()


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            server.get("/ready")
        except (urllib.error.URLError, ConnectionError):
            assert server.process.poll() is None, server.log
            assert time.monotonic() < deadline, server.log
            time.sleep(0.05)
        else:
            return


def until(condition: Any, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def lives(process: psutil.Process) -> bool:
    """A zombie is dead: if its parent died before it, it is for the system's first process to bury it."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.thorough) for n in (signal.SIGINT, signal.SIGHUP))],
)
def test_a_signal_lets_running_requests_finish(
    env: dict[str, str], tiny_gguf: Path, number: signal.Signals
) -> None:
    with serving(env, str(tiny_gguf)) as server:
        until(lambda: "stop     Ctrl-C" in server.log)
        assert f"{server.url}/v1/chat/completions" in server.log
        processes = server.descendants()
        with server.open_stream(max_tokens=480) as stream:
            first = stream.readline()
            os.kill(server.process.pid, number)
            rest = stream.read()
        assert first.startswith(b"data:")
        assert b'"finish_reason":"length"' in rest
        assert rest.rstrip().endswith(b"[DONE]")
        assert server.process.wait(timeout=30) == 0
        until(lambda: "stopped" in server.log)
        assert "stopping: 1 request may finish" in server.log
        assert "Traceback" not in server.log
        assert not [process for process in processes if lives(process)]


def test_a_second_signal_ends_it_at_once(env: dict[str, str], tiny_gguf: Path) -> None:
    with serving(env, str(tiny_gguf), "--ctx", "512", "--parallel", "1") as server:
        processes = server.descendants()
        streams = [server.open_stream(max_tokens=500) for _ in range(1)]
        streams[0].readline()
        os.kill(server.process.pid, signal.SIGINT)
        until(lambda: "stopping" in server.log)
        os.kill(server.process.pid, signal.SIGINT)
        assert server.process.wait(timeout=60) == 0
        for stream in streams:
            stream.close()
        assert not [process for process in processes if lives(process)]


def test_under_nohup_the_end_of_the_terminal_is_none(env: dict[str, str], tiny_gguf: Path) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with serving(env, str(tiny_gguf), preexec_fn=ignore) as server:
        os.kill(server.process.pid, signal.SIGHUP)
        time.sleep(0.3)
        assert server.get("/health") == {"status": "ok"}
        assert "stopping" not in server.log


def test_a_terminal_that_is_closed_lets_running_requests_finish(env: dict[str, str], tiny_gguf: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pid, terminal = pty.fork()
    if pid == 0:
        command = corral_command("serve", str(tiny_gguf), "--port", str(port))
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may be under nohup
        os.execve(command[0], command, env)  # noqa: S606
    process = psutil.Process(pid)
    try:
        server = Server(subprocess.Popen(["true"], text=True), port)
        server.process.wait()
        until(lambda: answers(port), timeout_s=60)
        workers = process.children(recursive=True)
        with server.open_stream(max_tokens=480) as stream:
            stream.readline()
            os.close(terminal)  # the kernel sends SIGHUP, and all writes to it fail from now on
            assert stream.read().rstrip().endswith(b"[DONE]")
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        until(lambda: not any(map(lives, workers)), timeout_s=5)
    finally:
        if process.is_running():
            process.kill()


def answers(port: int) -> bool:
    """True if the server is ready; what it writes to its terminal fits into the terminal's buffer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
            return True
    except OSError:
        return False


def test_killed_it_leaves_no_process(env: dict[str, str], tiny_gguf: Path) -> None:
    with serving(env, str(tiny_gguf)) as server:
        processes = server.descendants()
        assert processes
        with server.open_stream(max_tokens=400) as stream:
            stream.readline()
            server.process.kill()
        until(lambda: not any(map(lives, processes)), timeout_s=5)


def test_the_answer_of_a_killed_worker_goes_on_in_the_next(env: dict[str, str], tiny_gguf: Path) -> None:
    with serving(env, str(tiny_gguf)) as server:
        [worker] = [child for child in server.descendants() if "server.worker" in " ".join(child.cmdline())]
        with server.open_stream(max_tokens=500) as stream:
            for _ in range(3):
                stream.readline()
            worker.kill()
            rest = stream.read()
        assert b'"error"' not in rest
        assert rest.rstrip().endswith(b"data: [DONE]")
        assert any("SIGKILL" in line for line in server.lines)
        with server.open_stream(max_tokens=2) as stream:
            assert b"[DONE]" in stream.read()


def test_the_port_is_in_use(corral: Corral, tiny_gguf: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = corral("serve", str(tiny_gguf), "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"corral: port {port} on 127.0.0.1 is in use; ")
    assert len(done.stderr.splitlines()) == 1


def test_no_address(corral: Corral, tiny_gguf: Path) -> None:
    done = corral("serve", str(tiny_gguf), "--host", "no.such.host.invalid")
    assert done.returncode == 2
    assert "--host" in done.stderr


def test_a_model_that_does_not_load_ends_it(corral: Corral, tiny_gguf: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_gguf.read_bytes()[:-5000])
    done = corral("serve", str(cut), "--port", "0")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("corral: ")
    assert "Traceback" not in done.stderr


def test_a_bad_setting_is_wrong_usage(corral: Corral) -> None:
    done = corral("serve", "--parallel", "0")
    assert done.returncode == 2
    assert "--parallel" in done.stderr
