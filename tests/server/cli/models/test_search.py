"""`corral search` against a Hub on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import HubServer
from tests.server.cli.models.in_process import run


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        for key, value in server.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


def add(hub: HubServer, name: str, folder: Path, **files: int) -> None:
    """Serve a repository with files of these sizes, which aren't written."""
    folder.mkdir(parents=True)
    for stem, n_bytes in files.items():
        suffix = "safetensors" if stem == "model" else "gguf"
        with (folder / f"{stem}.{suffix}").open("wb") as file:
            file.truncate(n_bytes)
    hub.add(name, folder)


def test_what_there_is_and_what_fits(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(hub, "org/tiny", tmp_path / "a", model=32 << 20)
    add(hub, "org/tiny-GGUF", tmp_path / "b", Q8_0=17 << 20, Q4_K_M=10 << 20)
    done = run(capsys, "search", "tiny")
    assert done.code == 0, done.err
    assert [" ".join(line.split()) for line in done.out.splitlines()] == [
        "MODEL DOWNLOADS SIZE OF FITS",
        "org/tiny 0 about 9.8 MiB 32.0 MiB of weights, as Q4_K_M yes",
        "org/tiny-GGUF 0 10.0 MiB Q4_K_M, one of 2 types yes",
    ]
    assert "corral run org/tiny" in done.err
    found = json.loads(run(capsys, "search", "TINY", "gguf", "--json").out)
    assert [(row["name"], row["type"], row["size_bytes"], row["fits"]) for row in found] == [
        ("org/tiny-GGUF", "Q4_K_M", 10 << 20, True)
    ]
    nothing = run(capsys, "search", "mistral")
    assert (nothing.code, nothing.out) == (0, "")
    assert "nothing on the Hub is called mistral" in nothing.err
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = run(capsys, "search", "tiny")
    assert (offline.code, len(offline.err.splitlines())) == (1, 1)
    assert "HF_HUB_OFFLINE is set; unset it to search" in offline.err
