"""Servers for real clients, and the table of what their runs came to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.libraries import EMBEDDER, RERANKER
from tests.clients.pico_agent import N_CTX, write_agent_gguf
from tests.clients.table import Row, as_markdown, write_into
from tests.e2e.running import environment, free_port, is_ready, serving
from tests.server.worker.family_models import write_family_gguf

MODEL = "pico"
PAGE = "CORRAL_CLIENTS_PAGE"
"""A variable that names the page with the table; the run writes the table there."""
READY_S = 60.0

Address = tuple[str, int]
Note = Callable[[Row], None]

_rows: list[Row] = []


@pytest.fixture(scope="session")
def note() -> Note:
    """Keep a row for the table."""
    return _rows.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and write it where PAGE says."""
    if not _rows:
        return
    terminalreporter.write_sep("=", "clients")
    terminalreporter.write_line(as_markdown(_rows))
    if page := os.environ.get(PAGE):
        write_into(Path(page), _rows)


@pytest.fixture(scope="session")
def client_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that stands for the server's user's home."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="session")
def pico(client_home: Path) -> Path:
    """A random Llama of 64k tokens of context as a GGUF file, with Hermes' tool calls in its template."""
    return write_agent_gguf(client_home, MODEL)


@pytest.fixture(scope="session")
def pooled(client_home: Path) -> tuple[Path, ...]:
    """The models for vectors and for scores, of random weights."""
    return tuple(write_family_gguf(name, client_home) for name in (EMBEDDER, RERANKER))


@pytest.fixture(scope="session")
def scripted_server(pico: Path, pooled: tuple[Path, ...], client_home: Path) -> Iterator[Address]:
    """The product over a model that plays the agents' loop."""
    port, log = free_port(), client_home / "scripted.log"
    command = [sys.executable, "-m", "tests.clients.scripted_server", str(port), str(pico), *map(str, pooled)]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=Path(__file__).parents[2], env=environment(client_home), stdout=output, stderr=output
        ) as process,
    ):
        deadline = time.monotonic() + READY_S
        while not is_ready(f"http://127.0.0.1:{port}"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield "127.0.0.1", port
        process.terminate()


@pytest.fixture(scope="session")
def pico_server(pico: Path, pooled: tuple[Path, ...], client_home: Path) -> Iterator[Address]:
    """The product as it is over random weights: only grammars make its calls valid."""
    arguments = (str(pico), *map(str, pooled), "--parallel", "2", "--ctx", str(N_CTX))
    with serving(*arguments, env=environment(client_home), log=client_home / "pico.log") as server:
        yield "127.0.0.1", int(server.url.rpartition(":")[2])
