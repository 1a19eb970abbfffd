"""The servers to compare, started and stopped, each on a loopback port of its own."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.sigterm import ends_by_sigterm

CORRAL = "corral"
BASELINE = f"{CORRAL} before"
LLAMA_SERVER = "llama-server"
UNIFIED = f"{LLAMA_SERVER} --kv-unified"
IK = "ik_llama.cpp"


@dataclass(frozen=True, slots=True)
class Room:
    """The room of each server: `slots` sequences side by side, `n_ctx` tokens for each."""

    slots: int
    n_ctx: int


@dataclass(frozen=True, slots=True)
class Server:
    """The command of one server. `{port}` in the arguments is replaced; `health` answers 200 once it serves.

    `extra` goes into every request to it: what only this server needs or understands.
    """

    name: str
    arguments: Sequence[str]
    health: str
    extra: Mapping[str, Any] = field(default_factory=dict)


INSTALLED = Path(sys.executable).with_name("corral")


def corral(
    command: Path, model: Path, room: Room, threads: int, name: str = CORRAL, flags: Sequence[str] = ()
) -> Server:
    """Return Corral's `command`; `flags` make a variant of it, which needs a `name` of its own."""
    return Server(
        name,
        [
            *(str(command), "serve", str(model), "--port", "{port}", "--parallel", str(room.slots)),
            *("--ctx", str(room.n_ctx), "--threads", str(threads), *flags),
        ],
        "/ready",
        {"ignore_eos": True},
    )


def llama_server(
    binary: Path, model: Path, room: Room, threads: int, *, unified: bool, flags: Sequence[str] = ()
) -> Server:
    """Return llama.cpp's own server, same context for each stream; `unified` shares one KV buffer."""
    return Server(
        UNIFIED if unified else LLAMA_SERVER,
        [
            *(str(binary), "-m", str(model), "--port", "{port}", "-np", str(room.slots)),
            *("-c", str(room.slots * room.n_ctx), "-t", str(threads), "--no-webui"),
            *("--kv-unified" if unified else "--no-kv-unified", *flags),
        ],
        "/health",
        {"ignore_eos": True},
    )


def ik_server(binary: Path, model: Path, room: Room, threads: int, flags: Sequence[str] = ()) -> Server:
    """Return ik_llama.cpp's server; it packs its weights anew as it loads, which is its fastest on a CPU."""
    return Server(
        IK,
        [
            *(str(binary), "-m", str(model), "--port", "{port}", "-np", str(room.slots)),
            *("-c", str(room.slots * room.n_ctx), "-t", str(threads), "--run-time-repack", *flags),
        ],
        "/health",
        {"ignore_eos": True},
    )


def llama_cpp_server(python: Path, model: Path, room: Room, threads: int, eos: Sequence[int]) -> Server:
    """Return llama-cpp-python's server: one request at a time, others wait for its lock.

    It doesn't know `ignore_eos`: the end-of-sequence tokens are banned by their ids.
    """
    return Server(
        "llama_cpp.server",
        [
            *(str(python), "-m", "llama_cpp.server", "--model", str(model), "--port", "{port}"),
            *("--n_ctx", str(room.n_ctx), "--n_threads", str(threads), "--n_threads_batch", str(threads)),
            *("--interrupt_requests", "false", "--verbose", "false"),
        ],
        "/v1/models",
        {"logit_bias": {str(token): -100 for token in eos}},
    )


def cache_flags(kind: str) -> tuple[Sequence[str], Sequence[str]]:
    """Return Corral's flags and its peers' for keys and values of this type; "f16" is everybody's default."""
    if kind == "f16":
        return (), ()
    return ("--type-k", kind, "--type-v", kind), ("--cache-type-k", kind, "--cache-type-v", kind)


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(port: int, path: str) -> bool:
    """True if GET `path` is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers at `url`. `pid` is the process that was started: Corral's API process."""

    url: str
    pid: int


@contextmanager
def running(
    server: Server, log: Path, wait_s: float = 180.0, environ: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run `server` with its output in `log`; yield it once it can serve; stop it at the end.

    `environ`: what its environment has beside ours.

    A SIGTERM, as `timeout` sends it, is an end too (`ends_by_sigterm`).
    Raises RuntimeError with the log's end if it isn't ready within `wait_s`.
    """
    ends_by_sigterm()
    port = free_port()
    arguments = [a.replace("{port}", str(port)) for a in server.arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environ or {})},
            start_new_session=True,  # Ctrl-C reaches it through us, once, and not twice
        )
        try:
            deadline = time.monotonic() + wait_s
            while not answers(port, server.health):
                if process.poll() is not None or time.monotonic() > deadline:
                    tail = log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{server.name} isn't ready: {' '.join(arguments)}\n{tail}")
                time.sleep(0.2)
            yield Running(f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
