"""A `corral serve` of `corral bench`'s own, on a free loopback port."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from models.errors import CorralError
from models.machine.child_process import module_command

FAILED = 1
"""A server that ends with 0 before it is ready has failed, too, and the command ends with this."""

CTX_MIN = 512
"""The context of a request has at least this many tokens."""

STOP_S = 30.0
"""The server has this many seconds to stop before it is killed."""

POLL_S = 0.1
"""The server is polled at intervals of this many seconds until it is ready."""


@contextmanager
def serving(reference: str, n_streams: int, n_tokens: int) -> Iterator[str]:
    """Run a server for `reference` with room for `n_streams` requests of about `n_tokens`; yield its URL.

    It pulls and quantizes first what is missing, with progress on stderr. If it doesn't start, it has said
    why, and its exit code becomes ours.
    """
    port = _free_port()
    command = module_command("server.cli", "serve", reference, "--port", str(port))
    command += [
        "--parallel",
        str(min(n_streams, 256)),
        "--ctx",
        str(max(CTX_MIN, n_tokens + n_tokens // 4 + 64)),
    ]
    command += ["--log-level", "warning"]
    # It has a session of its own: Ctrl-C ends the measurement here, and then the server.
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, url, reference)
            yield url
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, reference: str) -> None:
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=5):  # noqa: S310 - our own server
                return
        except (OSError, urllib.error.URLError):
            time.sleep(POLL_S)
    if process.returncode < 0:
        ended_by = signal.Signals(-process.returncode).name
        raise CorralError(f"the server for {reference} was ended by {ended_by}; run corral serve {reference}")
    raise typer.Exit(process.returncode or FAILED)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
