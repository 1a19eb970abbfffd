"""One home and one demo server for all end-to-end tests: quantizing and loading are paid once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from tests.e2e.running import RunningServer, environment, serving
from tests.pico_tokenizer import CHAT_TEMPLATE


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that stands for the user's home."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="package")
def demo_server(home: Path) -> Iterator[RunningServer]:
    """`corral serve demo:Q8_0 demo:Q4_K_M`: two models, two workers, quantized on the way.

    Its settings file, `home / "corral.toml"`, is empty.
    """
    settings = home / "corral.toml"
    settings.write_text("")
    with serving(
        *("demo:Q8_0", "demo:Q4_K_M", "--parallel", "16", "--config", str(settings)),
        env=environment(home),
        log=home / "demo.log",
    ) as server:
        yield server


@pytest.fixture(scope="package")
def forms_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A pico model of random weights, which writes anything that a grammar lets it."""
    folder = tmp_path_factory.mktemp("forms")
    model = write_tiny_gguf(folder / "pico.gguf", TinyModel(n_ctx_train=2048, chat_template=CHAT_TEMPLATE))
    with serving(
        *(str(model), "--parallel", "8", "--ctx", "1024"),
        env=environment(folder), log=folder / "log",
    ) as running:  # fmt: skip
        yield running
