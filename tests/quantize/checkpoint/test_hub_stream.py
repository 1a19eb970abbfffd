"""From the Hub in a stream: the same bytes, no weights on the disk, faults mended or reported."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError, DownloadCorrupt, HubError, HubUnreachable, QuantizationError
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.checkpoint.json_file import read_json_object
from quantize.control import JobControl
from quantize.job.request import QuantizeOptions
from quantize.job.service import QuantizationOutcome, quantize_reference
from quantize.run.options import RunOptions
from tests.hub_server import HubServer, Repo
from tests.peft import write_peft_adapter
from tests.pico import write_json, write_pico_checkpoint
from tests.quantize.checkpoint.write_tensors import write_any_safetensors
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint
from tests.quantize.summary import summary

REF = ModelRef.parse("someone/pico")
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
TYPES = ("Q8_0", "Q4_K_M")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def pico(tmp_path: Path) -> Path:
    return write_pico_checkpoint(tmp_path / "pico", sharded=True)


@pytest.fixture
def repo(hub: HubServer, pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    for key, value in hub.environment(tmp_path).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("quantize.checkpoint.prefetch.CHUNK_BYTES", 2**16)
    monkeypatch.setattr("models.hub.fetch.Retries.wait_s", lambda *_: 0.0)
    return hub.add(REF.name, pico)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))


def stream(
    store: ModelStore, ref: ModelRef = REF, control: JobControl | None = None, **options: Any
) -> QuantizationOutcome:
    """Options are those of QuantizeOptions."""
    streamed = QuantizeOptions(run=RunOptions(stream=True), **options)
    return quantize_reference(ref, TYPES, store=store, options=streamed, control=control)


def downloaded(store: ModelStore) -> list[str]:
    blobs = store.paths.hf_cache.rglob("*")
    return [path.name for path in blobs if path.is_file() and path.stat().st_size > 100_000]


def test_the_bytes_are_those_of_a_download(repo: Repo, store: ModelStore, pico: Path, tmp_path: Path) -> None:
    outcome = stream(store)
    assert downloaded(store) == []
    assert outcome.verified == tuple(f"{shard}: sha256 is the Hub's" for shard in SHARDS)
    here = ModelStore(Paths(home=tmp_path / "other", hf_cache=tmp_path / "other-hub"))
    usual = quantize_reference(REF, TYPES, store=here)
    assert [file.sha256 for file in outcome.files] == [file.sha256 for file in usual.files]
    assert outcome.model is not None
    assert outcome.model.revision == repo.commit
    assert set(outcome.model.manifest.source.sha256) == set(SHARDS)


def test_an_adapter_is_added_to_a_stream(repo: Repo, store: ModelStore, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "style", write_pico_checkpoint(tmp_path / "unsharded"))
    adapters = ((str(folder), 0.5),)
    outcome = stream(store, adapters=adapters)
    assert downloaded(store) == []
    assert outcome.verified == tuple(f"{shard}: sha256 is the Hub's" for shard in SHARDS)
    here = ModelStore(Paths(home=tmp_path / "other", hf_cache=tmp_path / "other-hub"))
    usual = quantize_reference(REF, TYPES, store=here, options=QuantizeOptions(adapters=adapters))
    assert [file.sha256 for file in outcome.files] == [file.sha256 for file in usual.files]


def test_what_cannot_be_read_once_is_not_streamed(
    repo: Repo, store: ModelStore, pico: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "merge.yaml"
    recipe.write_text(f"merge_method: linear\nmodels:\n  - model: {REF}\n  - model: {pico}\n")
    with pytest.raises(QuantizationError, match="--stream is for models of the Hub"):
        stream(store, ModelRef.parse(str(recipe)))


def test_little_memory_costs_requests_and_nothing_else(
    repo: Repo, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantize.checkpoint.hub_stream.PREFETCH_BYTES", 1)
    outcome = stream(store)
    assert len(outcome.files) == 2


@pytest.mark.parametrize(
    "fault", [{"break_after": 30_000, "times": 5}, {"status": 503, "times": 3}, {"status": 429, "times": 2}]
)
def test_what_passes_is_mended(repo: Repo, store: ModelStore, fault: dict[str, Any]) -> None:
    repo.fault(SHARDS[0], **fault)
    assert stream(store).verified[0].endswith("sha256 is the Hub's")


def test_a_connection_that_is_gone_for_good(repo: Repo, store: ModelStore) -> None:
    repo.fault(SHARDS[1], status=503)
    with pytest.raises(HubUnreachable, match="503"):
        stream(store)
    assert store.list() == []
    repo.mend()
    assert len(stream(store).files) == 2


def test_what_arrives_changed_is_not_published(repo: Repo, store: ModelStore) -> None:
    repo.fault(SHARDS[1], corrupt=True)
    with pytest.raises(DownloadCorrupt, match=SHARDS[1]):
        stream(store)
    assert store.list() == []
    assert list(store.paths.staging_dir.iterdir()) == []


def test_a_server_that_sends_whole_files(repo: Repo, store: ModelStore) -> None:
    repo.fault(SHARDS[0], ignore_range=True)
    with pytest.raises(HubError, match="whole files only"):
        stream(store)


def test_an_interrupted_stream_is_gone_on_with(repo: Repo, store: ModelStore, hub: HubServer) -> None:
    def interrupt(event: Any) -> None:
        if event.tensors_done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream(store, control=JobControl(on_progress=interrupt))
    assert store.list() == []
    again = stream(store)
    assert again.resumed == 14
    assert len(again.files) == 2


def test_only_the_hubs_weights_are_streamed(pico: Path, store: ModelStore) -> None:
    with pytest.raises(QuantizationError, match="--stream is for models of the Hub"):
        stream(store, ModelRef.parse(str(pico)))


def test_a_stream_follows_the_index_as_a_folder_does(
    hub: HubServer, repo: Repo, store: ModelStore, pico: Path, tmp_path: Path
) -> None:
    usual = stream(store)
    stale = tmp_path / "stale"
    shutil.copytree(pico, stale)
    for number in (1, 2, 3):  # an older upload: other numbers under the same names
        shutil.copy(pico / SHARDS[0], stale / f"model-0000{number}-of-00003.safetensors")
    hub.add("someone/stale", stale)
    again = stream(store, ModelRef.parse("someone/stale"))
    assert again.verified == usual.verified
    for file, other in zip(again.files, usual.files, strict=True):
        assert summary(file.path)["tensors"] == summary(other.path)["tensors"]


def test_a_stale_index_beside_a_whole_file(
    hub: HubServer, repo: Repo, store: ModelStore, pico: Path, tmp_path: Path
) -> None:
    whole = write_pico_checkpoint(tmp_path / "whole")
    shutil.copy(pico / "model.safetensors.index.json", whole)
    hub.add("someone/whole", whole)
    ref = ModelRef.parse("someone/whole")
    outcome = stream(store, ref)
    assert outcome.verified == ("model.safetensors: sha256 is the Hub's",)
    here = ModelStore(Paths(home=tmp_path / "other", hf_cache=tmp_path / "other-hub"))
    downloaded = quantize_reference(ref, TYPES, store=here)
    local = quantize_reference(ModelRef.parse(str(whole)), TYPES, store=here)
    for files in (downloaded.files, local.files):
        assert [summary(file.path)["tensors"] for file in files] == [
            summary(file.path)["tensors"] for file in outcome.files
        ]


def test_a_bias_of_zeros_is_read_before_the_stream_and_left_out(
    hub: HubServer, repo: Repo, store: ModelStore, pico: Path, tmp_path: Path
) -> None:
    usual = stream(store)
    biased = tmp_path / "biased"
    shutil.copytree(pico, biased)
    extra = "model-extra.safetensors"
    write_any_safetensors(biased / extra, {"lm_head.bias": np.zeros(512, np.float32)})
    index = read_json_object(biased / "model.safetensors.index.json")
    index["weight_map"]["lm_head.bias"] = extra
    write_json(biased / "model.safetensors.index.json", index)
    hub.add("someone/biased", biased)
    outcome = stream(store, ModelRef.parse("someone/biased"))
    for file, other in zip(outcome.files, usual.files, strict=True):
        assert summary(file.path)["tensors"] == summary(other.path)["tensors"]


def test_only_safetensors_are_streamed(
    hub: HubServer, repo: Repo, store: ModelStore, pico: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bins"
    folder.mkdir()
    (folder / "config.json").write_bytes((pico / "config.json").read_bytes())
    (folder / "pytorch_model.bin").write_bytes(b"x" * 1000)
    hub.add("someone/bins", folder)
    with pytest.raises(CheckpointError, match="no safetensors"):
        stream(store, ModelRef.parse("someone/bins"))


def test_dense_layers_are_downloaded_and_all_else_is_streamed(
    hub: HubServer, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in hub.environment(tmp_path).items():
        monkeypatch.setenv(key, value)
    family = next(family for family in ALL_FAMILIES if family.name == "embedding-gemma")
    golden = read_golden(family)
    folder = write_checkpoint(family, tmp_path, golden["config"], golden["tensors"])
    hub.add("someone/embedder", folder)
    outcome = stream(store, ModelRef.parse("someone/embedder"))
    hashes = outcome.model.manifest.source.sha256 if outcome.model is not None else {}
    assert set(hashes) == {"model.safetensors", "2_Dense/model.safetensors", "3_Dense/model.safetensors"}
    here = quantize_reference(ModelRef.parse(str(folder)), TYPES, store=store)
    assert [summary(file.path)["tensors"] for file in outcome.files] == [
        summary(file.path)["tensors"] for file in here.files
    ]
    assert here.model is not None
    assert set(here.model.manifest.source.sha256) == set(hashes)
