"""`corral pull --what` describes a model without its weights; an unknown one is refused before them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from tests.hub_server import HubServer
from tests.pico import write_json, write_pico_checkpoint
from tests.server.cli.models.in_process import run

CARD = "---\nlicense: other\nlicense_name: tiny-licence\nlicense_link: https://example.org/l\n---\n# Tiny\n"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        for key, value in server.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


def add_pico(hub: HubServer, folder: Path, **config: object) -> None:
    """Serve a tiny Llama whose config.json has these fields, too, a ready GGUF and a projector beside it."""
    write_pico_checkpoint(folder)
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", written | config)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "tiny.Q8_0.gguf").write_bytes(bytes(1000))
    (folder / "mmproj-tiny-f16.gguf").write_bytes(bytes(1000))
    hub.add("org/tiny", folder)


def weights_fetched(hub: HubServer) -> list[str]:
    """Return the requests for a whole file of weights."""
    weights = (".safetensors", ".gguf")
    return [one.path for one in hub.requests if one.path.endswith(weights) and one.range is None]


def test_a_model_is_described_to_the_byte(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_pico(hub, tmp_path / "repo")
    done = run(capsys, "pull", "org/tiny", "--what", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["architectures"] == ["LlamaForCausalLM"]
    assert (found["family"], found["problem"]) == ("llama", None)
    assert found["license"] == "other (tiny-licence, https://example.org/l)"
    assert found["projectors"] == ["mmproj-tiny-f16.gguf"]
    assert found["weights_bytes"] == (tmp_path / "repo" / "model.safetensors").stat().st_size
    [ready, *made] = found["types"]
    assert (ready["type"], ready["ready"], ready["size_bytes"]) == ("Q8_0", True, 1000)
    assert [row["type"] for row in made][:3] == ["F32", "F16", "BF16"]
    assert not any(row["ready"] for row in made)
    assert all(row["fits"] for row in made)
    assert not weights_fetched(hub)
    whole = quantize_reference(
        ModelRef.parse("org/tiny"),
        ["Q4_K_M", "Q8_0"],
        store=ModelStore(Paths.from_environment()),
        options=QuantizeOptions(out_dir=tmp_path / "out"),
    )
    sizes = {row["type"]: row["size_bytes"] for row in made}
    assert {file.type: file.path.stat().st_size for file in whole.files}.items() <= sizes.items()


def test_it_is_told_to_people(hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_pico(hub, tmp_path / "repo")
    done = run(capsys, "pull", "org/tiny", "--what")
    assert done.code == 0, done.err
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "licence other (tiny-licence, https://example.org/l)" in lines
    assert "family llama" in lines
    assert any(line.startswith("Q8_0") and line.endswith("ready yes") for line in lines)
    assert any(line.startswith("Q4_K_M") and line.endswith("to be made yes") for line in lines)
    assert "serve or talk to it: corral run org/tiny" in done.err
    both = run(capsys, "pull", "org/tiny", "--what", "--include", "*.json")
    assert (both.code, "leave one out" in both.err) == (2, True)
    here = run(capsys, "pull", str(tmp_path / "repo"), "--what")
    assert (here.code, "is not on the Hub" in here.err) == (2, True)


def test_of_an_unknown_family_the_ready_files_are_offered_and_no_weights_fetched(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_pico(hub, tmp_path / "repo", architectures=["NovelForCausalLM"])
    found = json.loads(run(capsys, "pull", "org/tiny", "--what", "--json").out)
    assert found["family"] is None
    assert "NovelForCausalLM is not known here" in found["problem"]
    assert [row["type"] for row in found["types"]] == ["Q8_0"]
    before = len(hub.requests)
    done = run(capsys, "quantize", "org/tiny")
    assert done.code == 1
    assert "org/tiny has ready GGUF files: run corral pull org/tiny:Q8_0" in done.err
    assert not [one for one in hub.requests[before:] if one.path.endswith(".safetensors")]


def test_without_ready_files_a_gguf_made_elsewhere_is_named(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "repo"
    add_pico(hub, folder, architectures=["NovelForCausalLM"])
    shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.gguf"))
    hub.add("org/bare", tmp_path / "bare")
    done = run(capsys, "quantize", "org/bare")
    assert done.code == 1
    assert "corral quantize FILE.gguf" in done.err
