"""The installed `corral` as a user runs it: commands, and a server in a process of its own on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from openai import OpenAI

CORRAL = str(Path(sys.executable).with_name("corral"))


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment in which everything Corral keeps lies below `home`, and no real Hub is asked.

    Models compute on one thread: of two test processes' servers each has a core, and none waits at barriers.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CORRAL_", "HF_"))}
    return {
        **kept,
        "CORRAL_HOME": str(home / "corral"),
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "CORRAL_THREADS": "1",
        **(extra or {"HF_HUB_OFFLINE": "1"}),
    }


def corral(
    *arguments: str, env: Mapping[str, str], timeout_s: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; the result is for the test to judge."""
    return subprocess.run(
        [CORRAL, *arguments], env=dict(env), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A `corral serve` that is ready."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def client(self) -> OpenAI:
        """The official client; retries are off so that tests see every answer."""
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

    def workers(self) -> list[psutil.Process]:
        """The worker processes that are alive."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [c for c in children if "server.worker" in c.cmdline()]

    def worker_of(self, file_part: str) -> psutil.Process:
        """The worker that has a file mapped whose path holds `file_part`."""
        for worker in self.workers():
            if any(file_part in m.path for m in worker.memory_maps()):
                return worker
        raise LookupError(f"no worker has {file_part} open; log: {self.log.read_text()[-3000:]}")


@contextmanager
def serving(
    *arguments: str, env: Mapping[str, str], log: Path, wait_s: float = 240.0, folder: Path | None = None
) -> Iterator[RunningServer]:
    """Run `corral serve` in `folder`, wait until it is ready, and interrupt it at the end."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [CORRAL, "serve", *arguments, "--port", str(port)],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + wait_s
            while not is_ready(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"corral serve isn't ready:\n{log.read_text()[-4000:]}")
                time.sleep(0.1)
            yield RunningServer(url, process, log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def is_ready(url: str) -> bool:
    """Whether GET /ready answers 200."""
    try:
        return httpx.get(f"{url}/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
