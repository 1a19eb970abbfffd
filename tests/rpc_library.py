"""llama.cpp's RPC back end as set-up builds it, and servers of it as users start them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import pytest

from models.llamacpp.rpc import LIBRARY_VARIABLE
from scripts import rpc
from scripts.environment import read_stamp
from scripts.native_library import libraries_of
from scripts.sources import unpack_sources
from tests.e2e.running import CORRAL, environment, free_port


@cache
def rpc_library() -> Path:
    """Return the library, compiled unless the cache has it; or the one that the environment names."""
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        return Path(named)
    if sys.platform != "linux":
        pytest.skip("the RPC back end is built on Linux")
    python = Path(sys.executable)
    job = rpc.LIBRARY.build_of(os.environ, read_stamp(Path(sys.prefix)))
    return rpc.LIBRARY.build(job, libraries_of(python), unpack_sources(os.environ, python))


def split_environment(home: Path) -> dict[str, str]:
    """Return an environment in which models can be split."""
    return {**environment(home), LIBRARY_VARIABLE: str(rpc_library())}


@dataclass
class Sharing:
    """A `corral cluster share`."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def server(self) -> psutil.Process:
        """The process of it that has llama.cpp."""
        [child] = psutil.Process(self.process.pid).children()
        return child

    def await_line(self, pattern: str, wait_s: float = 30.0) -> str:
        """Return the first line of the log with this in it, once it is there."""
        end_s = time.monotonic() + wait_s
        while (found := re.search(f".*{pattern}.*", self.log.read_text())) is None:
            assert time.monotonic() < end_s, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        return found[0]


@contextmanager
def sharing(home: Path, port: int | None = None, *arguments: str) -> Iterator[Sharing]:
    """Run `corral cluster share` on loopback, wait until it serves, and interrupt it at the end."""
    port = port or free_port()
    address = f"127.0.0.1:{port}"
    log = home / f"share-{port}-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [CORRAL, "cluster", "share", "--bind", address, "--threads", "1", *arguments],
            env=split_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        share = Sharing(address, process, log)
        share.await_line("serving CPU")
        yield share
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0, log.read_text()
