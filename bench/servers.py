"""Start the servers to compare, each on a loopback port of its own, and stop them again."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Server:
    """How to start one server. `{port}` in the arguments is replaced; `health` answers 200 once it serves."""

    name: str
    arguments: Sequence[str]
    health: str
    concurrent: bool = True


def corral(model: Path, streams: int, n_ctx: int, threads: int) -> Server:
    """Corral, with `streams` parallel sequences of `n_ctx` tokens."""
    return Server(
        "corral",
        [
            *(str(Path(sys.executable).with_name("corral")), "serve", str(model), "--port", "{port}"),
            *("--parallel", str(streams), "--ctx", str(n_ctx), "--threads", str(threads)),
        ],
        "/ready",
    )


def llama_server(
    binary: Path, model: Path, streams: int, n_ctx: int, threads: int, *, unified: bool
) -> Server:
    """llama.cpp's own server, same context for each stream; `unified` shares one KV buffer."""
    kv = ["--kv-unified"] if unified else ["--no-kv-unified"]
    return Server(
        "llama-server --kv-unified" if unified else "llama-server",
        [
            *(str(binary), "-m", str(model), "--port", "{port}", "-np", str(streams)),
            *("-c", str(streams * n_ctx), "-t", str(threads), "--no-webui", *kv),
        ],
        "/health",
    )


def llama_cpp_python_server(python: Path, model: Path, n_ctx: int, threads: int) -> Server:
    """llama-cpp-python's server: one request at a time, others wait for its lock."""
    return Server(
        "llama_cpp.server",
        [
            *(str(python), "-m", "llama_cpp.server", "--model", str(model), "--port", "{port}"),
            *("--n_ctx", str(n_ctx), "--n_threads", str(threads), "--n_threads_batch", str(threads)),
            *("--interrupt_requests", "false", "--verbose", "false"),
        ],
        "/v1/models",
        concurrent=False,
    )


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(port: int, path: str) -> bool:
    """Whether GET `path` is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def running(server: Server, log: Path, wait_s: float = 120.0) -> Iterator[str]:
    """Run `server` with its output in `log`; yield its base URL once it can serve; stop it at the end.

    Raises RuntimeError with the log's end if it isn't ready within `wait_s`.
    """
    port = free_port()
    arguments = [a.replace("{port}", str(port)) for a in server.arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT, env=dict(os.environ))
        try:
            deadline = time.monotonic() + wait_s
            while not answers(port, server.health):
                if process.poll() is not None or time.monotonic() > deadline:
                    tail = log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{server.name} isn't ready: {' '.join(arguments)}\n{tail}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
