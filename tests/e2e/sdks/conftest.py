"""A server of random weights that like to call tools, for the official libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.pico_agent import write_agent_gguf
from tests.e2e.running import RunningServer, environment, serving


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The product as it is: HTTP, a worker, llama.cpp. Only grammars make what it writes valid."""
    folder: Path = tmp_path_factory.mktemp("sdks")
    model = write_agent_gguf(folder, "pico")
    with serving(
        *(str(model), "--parallel", "4", "--ctx", "8192"), env=environment(folder), log=folder / "log"
    ) as running:
        yield running
