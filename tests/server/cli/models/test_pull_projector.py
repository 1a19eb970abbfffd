"""`corral pull` of a ready GGUF brings the projector of this model, which the store lists with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.paths import Paths
from models.store.store import ModelStore
from tests.hub_server import HubServer
from tests.quantize.projectors.checkpoints import write_projector
from tests.server.cli.models.in_process import run

EYES = "mmproj-tiny-F16.gguf"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a repository with a tiny model and the projector of one that is as wide."""
    folder = tmp_path / "repo"
    folder.mkdir()
    write_tiny_gguf(folder / "tiny-F32.gguf", TinyModel())
    write_projector(folder / EYES, tmp_path)
    with HubServer() as hub:
        for key, value in hub.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
        hub.add("org/tiny-GGUF", folder)
        yield folder


def test_it_is_pulled_shown_and_removed_with_its_model(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pulled = run(capsys, "pull", "org/tiny-GGUF:F32", "--json")
    assert pulled.code == 0, pulled.err
    assert f"with its projector, {EYES}: it sees pictures" in pulled.err
    [model] = ModelStore(Paths.from_environment()).list()
    assert model.projector is not None
    assert json.loads(pulled.out)["projector"] == str(model.projector)
    assert model.projector.read_bytes() == (repo / EYES).read_bytes()
    shown = json.loads(run(capsys, "show", "org/tiny-GGUF", "--json").out)["projector"]
    assert (shown["type"], shown["paths"]) == ("mmproj-F16", [str(model.projector)])
    assert "mmproj-F16" in run(capsys, "show", "org/tiny-GGUF").out
    [row] = json.loads(run(capsys, "list", "--json").out)
    assert row["projector"] == str(model.projector)
    served = run(capsys, "show", str(model.projector))
    assert served.code == 0, served.err
    removed = run(capsys, "remove", "org/tiny-GGUF", "--yes")
    assert "removed org/tiny-GGUF (F32, mmproj-F16)" in removed.err
    assert model.projector.exists(), "the Hub's cache is not ours"


def test_one_of_another_model_is_left_out_and_told(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny_gguf(repo / "tiny-F32.gguf", TinyModel(n_embd=512))
    with HubServer() as hub, pytest.MonkeyPatch.context() as patch:
        for key, value in hub.environment(tmp_path / "other").items():
            patch.setenv(key, value)
        hub.add("org/tiny-GGUF", repo)
        with caplog.at_level(logging.WARNING, "corral.hub"):
            pulled = run(capsys, "pull", "org/tiny-GGUF:F32", "--json")
    assert pulled.code == 0, pulled.err
    assert "of a model with a width of 256, and tiny-F32.gguf has 512" in caplog.text + pulled.err
    assert json.loads(pulled.out)["projector"] is None
