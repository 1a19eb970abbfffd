from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import HubServer, Repo
from tests.models.hub.client import WEIGHTS, WEIGHTS_BYTES, Client


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text('{"version": "1.0"}' * 100)
    (folder / "README.md").write_text("# A model")
    (folder / "empty.txt").write_bytes(b"")
    (folder / WEIGHTS).write_bytes(os.urandom(WEIGHTS_BYTES))
    (folder / "pytorch_model.bin").write_bytes(b"not wanted")
    return folder


@pytest.fixture
def repo(server: HubServer, folder: Path) -> Repo:
    return server.add("org/name", folder)


@pytest.fixture
def client(server: HubServer, tmp_path: Path) -> Client:
    return Client(server, tmp_path)
