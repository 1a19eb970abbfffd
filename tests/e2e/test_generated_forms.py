"""A model of random weights under generated schemas, through the product: what finishes is valid."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from tests.e2e.guided_answers import generate
from tests.e2e.running import RunningServer, environment, serving
from tests.pico_tokenizer import CHAT_TEMPLATE
from tests.schema_generator import schemas

pytestmark = [pytest.mark.e2e, pytest.mark.model]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("forms")
    model = write_tiny_gguf(folder / "pico.gguf", TinyModel(n_ctx_train=2048, chat_template=CHAT_TEMPLATE))
    with serving(
        *(str(model), "--parallel", "8", "--ctx", "1024"),
        env=environment(folder), log=folder / "log",
    ) as running:  # fmt: skip
        yield running


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("wanted", [60, pytest.param(2000, marks=pytest.mark.thorough)])
def test_what_finishes_is_valid(server: RunningServer, wanted: int) -> None:
    drawn = schemas(n=300)
    random.Random(3).shuffle(drawn)
    (worker,) = server.workers()
    tally = asyncio.run(generate(server.url, drawn, wanted))
    assert not tally.wrong, tally.wrong[:3]
    assert not tally.refusals
    assert tally.finished >= wanted, tally
    assert [process.pid for process in server.workers()] == [worker.pid]
