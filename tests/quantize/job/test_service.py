"""From a reference to published files: what is skipped, refused, planned, cleaned up and recorded."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError, DiskFull, InvalidReference, ModelNotFound, QuantizationError
from models.gguf.info import read_gguf_info
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.control import Cancelled, JobControl, QuantizationProgress
from quantize.imatrix.matrix import Importance, ImportanceMatrix
from quantize.job.model_card import model_card
from quantize.job.request import QuantizeOptions
from quantize.job.service import QuantizationOutcome, quantize_reference
from quantize.plan.types import TypeChoice
from quantize.run.options import RunOptions
from quantize.run.writer import GGUFFileWriter
from tests.hub_server import HubServer
from tests.pico import write_json, write_pico_checkpoint, write_safetensors
from tests.quantize.importance import tensors


@pytest.fixture
def pico(tmp_path: Path) -> Path:
    return write_pico_checkpoint(tmp_path / "pico", n_layers=1)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))


def quantize(
    pico: Path, store: ModelStore, *types: str, control: JobControl | None = None, **options: Any
) -> QuantizationOutcome:
    """Options are those of QuantizeOptions."""
    made = QuantizeOptions(run=RunOptions(threads=2), **options)
    return quantize_reference(ModelRef.parse(str(pico)), types, store=store, options=made, control=control)


def test_an_importance_matrix_is_named_where_it_weighs(pico: Path, store: ModelStore) -> None:
    importance = Importance(np.ones((1, 256), np.float32), np.ones(1, np.int64))
    matrix = ImportanceMatrix({"blk.0.ffn_up.weight": importance}, ("text",), 1, file="made.gguf")
    types = ("F16", "Q8_0", "Q4_0")
    outcome = quantize(pico, store, *types, choice=TypeChoice(matrix))
    assert outcome.model is not None
    manifest = outcome.model.manifest
    assert [file.imatrix for file in manifest.files] == [None, None, "made.gguf (text)"]
    card = model_card(manifest, {})
    assert card.count("importance matrix") == 1
    assert "importance matrix: made.gguf (text)" in next(
        line for line in card.splitlines() if line.startswith("- Q4_0")
    )
    infos = [read_gguf_info(outcome.model.types[type_].path) for type_ in types]
    assert [info.text("quantize.imatrix.dataset") for info in infos] == [None, None, "text"]


def left_behind(store: ModelStore) -> list[Path]:
    return [path for path in store.paths.home.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_types_are_published_with_a_manifest(pico: Path, store: ModelStore) -> None:
    outcome = quantize(pico, store, "8bit", "Q4_K_M")
    assert outcome.types == ("Q8_0", "Q4_K_M")
    assert outcome.existing == ()
    assert [file.path.name for file in outcome.files] == ["pico.Q8_0.gguf", "pico.Q4_K_M.gguf"]
    model = store.get(ModelRef.parse(str(pico)))
    assert set(model.types) == {"Q8_0", "Q4_K_M"}
    manifest = model.manifest
    assert manifest.source.kind == "path"
    assert manifest.source.path == str(pico)
    assert manifest.architecture == "llama"
    assert manifest.context_length == 512
    assert manifest.parameters == outcome.plan.n_parameters if outcome.plan else False
    assert set(manifest.tools) == {"corral", "llama_cpp_python", "gguf"}
    assert model.types["Q4_K_M"].sha256 == outcome.files[1].sha256
    info = read_gguf_info(model.types["Q4_K_M"].path)
    assert info.ftype == "Q4_K_M"
    assert str(info.metadata["general.quantized_by"]).startswith("Corral ")


def test_the_default_types(pico: Path, store: ModelStore) -> None:
    assert quantize(pico, store, dry_run=True).types == ("Q8_0", "Q5_K_M", "Q4_K_M")
    ref = ModelRef.parse(f"{pico}:Q4_0")
    assert quantize_reference(ref, store=store, options=QuantizeOptions(dry_run=True)).types == ("Q4_0",)


def test_what_is_there_is_skipped_unless_forced(pico: Path, store: ModelStore) -> None:
    quantize(pico, store, "Q8_0")
    again = quantize(pico, store, "Q8_0", "Q4_0")
    assert again.existing == ("Q8_0",)
    assert [file.type for file in again.files] == ["Q4_0"]
    everything = quantize(pico, store, "Q8_0", "Q4_0")
    assert everything.existing == ("Q8_0", "Q4_0")
    assert everything.plan is None
    assert everything.model is not None
    forced = quantize(pico, store, "Q8_0", force=True)
    assert [file.type for file in forced.files] == ["Q8_0"]
    assert set(store.get(ModelRef.parse(str(pico))).types) == {"Q8_0", "Q4_0"}


def test_a_dry_run_plans_what_is_there_too(pico: Path, store: ModelStore, tmp_path: Path) -> None:
    made = quantize(pico, store, "Q8_0")
    for types, missing in ((("Q8_0",), ()), (("Q8_0", "Q4_0"), ("Q4_0",))):
        planned = quantize(pico, store, *types, dry_run=True)
        assert planned.existing == ("Q8_0",)
        assert planned.plan is not None
        assert [file.type for file in planned.plan.files] == list(types)
        assert planned.plan.files[0].size_bytes == made.files[0].size_bytes
        assert planned.fits
        sizes = {file.type: file.size_bytes for file in planned.plan.files}
        assert planned.missing_bytes == sum(sizes[type_] for type_ in missing)
    assert quantize(pico, store, "Q8_0", dry_run=True, force=True).existing == ()


def test_a_dry_run_beside_files_of_a_folder(pico: Path, store: ModelStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    quantize(pico, store, "Q8_0", out_dir=out)
    (out / "pico.F16-00001-of-00002.gguf").touch()
    planned = quantize(pico, store, "F16", "Q8_0", "Q4_0", out_dir=out, dry_run=True)
    assert planned.existing == ("F16", "Q8_0")
    assert planned.plan is not None
    assert len(planned.plan.files) == 3


def test_a_changed_checkpoint_is_another_source(pico: Path, store: ModelStore) -> None:
    quantize(pico, store, "Q8_0")
    write_pico_checkpoint(pico, n_layers=1, seed=5)
    assert quantize(pico, store, "Q8_0").existing == ()


def test_a_dry_run_writes_nothing(pico: Path, store: ModelStore, tmp_path: Path) -> None:
    outcome = quantize(pico, store, "Q8_0", "Q4_K_M", dry_run=True)
    assert outcome.plan is not None
    assert outcome.fits
    assert outcome.files == ()
    assert outcome.model is None
    sizes = {file.type: file.size_bytes for file in outcome.plan.files}
    written = quantize(pico, store, "Q8_0", "Q4_K_M", out_dir=tmp_path / "out")
    assert {file.type: file.path.stat().st_size for file in written.files} == sizes
    assert left_behind(store) == []


def test_into_a_folder(pico: Path, store: ModelStore, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    outcome = quantize(pico, store, "Q8_0", out_dir=out)
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "pico.Q8_0.gguf"]
    assert outcome.files[0].path == out / "pico.Q8_0.gguf"
    assert store.list() == []
    with pytest.raises(QuantizationError, match="exists; remove it"):
        quantize(pico, store, "Q8_0", out_dir=out)
    quantize(pico, store, "Q8_0", out_dir=out, force=True)
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "pico.Q8_0.gguf"]


def test_what_another_run_left_is_written_over(pico: Path, store: ModelStore, tmp_path: Path) -> None:
    hidden = tmp_path / ".pico.quantize"
    hidden.mkdir()
    (hidden / "pico.Q8_0.gguf").write_text("left by a killed run of another plan")
    (hidden / "journal").write_text('{"key":"other","version":1}\n{"tensors":[0]}\n')
    quantize(pico, store, "Q8_0", out_dir=tmp_path)
    assert not hidden.exists()
    assert read_gguf_info(tmp_path / "pico.Q8_0.gguf").ftype == "Q8_0"


def test_a_readme_of_somebody_else_stays(pico: Path, store: ModelStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("mine")
    quantize(pico, store, "Q8_0", out_dir=out)
    assert (out / "README.md").read_text() == "mine"


@pytest.mark.parametrize("into_folder", [True, False])
def test_no_room_is_told_before_anything_is_written(
    pico: Path, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, into_folder: bool
) -> None:
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(DiskFull, match="1,000"):
        quantize(pico, store, "Q8_0", out_dir=tmp_path / "out" if into_folder else None)
    assert left_behind(store) == []


@pytest.mark.parametrize("into_folder", [True, False])
def test_a_disk_that_fills_up_on_the_way(
    pico: Path, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, into_folder: bool
) -> None:
    original = GGUFFileWriter.write

    def write(writer: GGUFFileWriter, tensor: int, offset: int, data: Any) -> None:
        if writer.n_bytes > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(writer, tensor, offset, data)

    monkeypatch.setattr(GGUFFileWriter, "write", write)
    out = tmp_path / "out" if into_folder else None
    with pytest.raises(DiskFull):
        quantize(pico, store, "Q8_0", out_dir=out)
    assert left_behind(store) == []
    assert out is None or list(out.iterdir()) == []
    monkeypatch.undo()
    quantize(pico, store, "Q8_0", out_dir=out)


@pytest.mark.parametrize("into_folder", [True, False])
def test_an_interrupted_run_is_gone_on_with(
    pico: Path, store: ModelStore, tmp_path: Path, into_folder: bool
) -> None:
    out = tmp_path / "out" if into_folder else None
    whole = quantize(pico, store, "Q8_0", "Q4_K_M", out_dir=tmp_path / "whole")

    def interrupt(event: QuantizationProgress) -> None:
        if event.tensors_done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(pico, store, "Q8_0", "Q4_K_M", out_dir=out, control=JobControl(on_progress=interrupt))
    assert store.list() == []
    assert out is None or [path.name for path in out.iterdir()] == [".pico.quantize"]
    resumed: list[tuple[int, int]] = []
    control = JobControl(on_resume=lambda done, n: resumed.append((done, n)))
    again = quantize(pico, store, "Q8_0", "Q4_K_M", out_dir=out, control=control)
    assert again.plan is not None
    assert resumed == [(5, len(again.plan.tensors))]
    assert again.resumed == 5
    assert [file.sha256 for file in again.files] == [file.sha256 for file in whole.files]
    assert list(store.paths.staging_dir.glob("*")) == []
    names = {path.name for path in again.files[0].path.parent.iterdir()}
    assert names - {"README.md"} == {"pico.Q8_0.gguf", "pico.Q4_K_M.gguf"}


@pytest.mark.parametrize("change", ["source", "types"])
def test_another_source_or_plan_starts_anew(pico: Path, store: ModelStore, change: str) -> None:
    def interrupt(event: QuantizationProgress) -> None:
        if event.tensors_done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(pico, store, "Q8_0", control=JobControl(on_progress=interrupt))
    if change == "source":
        write_pico_checkpoint(pico, n_layers=1, seed=5)
    again = quantize(pico, store, "Q8_0" if change == "source" else "Q4_0")
    assert again.resumed == 0
    assert list(store.paths.staging_dir.iterdir()) == []


def test_an_interruption_before_anything_is_done_leaves_nothing(pico: Path, store: ModelStore) -> None:
    def interrupt(_event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(pico, store, "Q8_0", control=JobControl(on_progress=interrupt), force=True)
    assert [path for path in left_behind(store) if path.suffix == ".gguf" and path.stat().st_size == 0] == []


def test_parts_are_published(pico: Path, store: ModelStore) -> None:
    options = QuantizeOptions(run=RunOptions(split_bytes=2**20))
    outcome = quantize_reference(ModelRef.parse(str(pico)), ["F16"], store=store, options=options)
    assert outcome.model is not None
    stored = outcome.model.types["F16"]
    assert len(stored.paths) == len(stored.sha256) == 2
    assert stored.path.name == "pico.F16-00001-of-00002.gguf"
    for path, digest in zip(stored.paths, stored.sha256, strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert store.scan().problems == ()
    assert read_gguf_info(stored.path).size_bytes == stored.size_bytes
    store.remove(ModelRef.parse(str(pico)))
    assert not stored.paths[1].exists()


def test_too_little_memory(pico: Path, store: ModelStore) -> None:
    options = QuantizeOptions(run=RunOptions(memory_bytes=2**20))
    with pytest.raises(QuantizationError, match=r"1,048,576 bytes of memory.* --memory at least \d+MiB"):
        quantize_reference(ModelRef.parse(str(pico)), ["Q8_0"], store=store, options=options)
    assert left_behind(store) == []


def test_where_it_came_from(pico: Path, store: ModelStore) -> None:
    outcome = quantize(pico, store, "Q4_K_M")
    assert outcome.model is not None
    manifest = outcome.model.manifest
    weights = pico / "model.safetensors"
    assert manifest.source.sha256 == {weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}
    assert sum(manifest.files[0].tensor_types.values()) == manifest.files[0].tensor_count
    metadata = read_gguf_info(outcome.files[0].path).metadata
    assert metadata["corral.source.revision"] == manifest.source.revision
    assert "llama_cpp_python" in str(metadata["corral.tools"])
    assert str(pico) not in "".join(map(str, metadata.values()))


def test_cancelling_publishes_nothing(pico: Path, store: ModelStore) -> None:
    control = JobControl()
    control.cancel.set()
    with pytest.raises(Cancelled, match="cancelled"):
        quantize(pico, store, "Q8_0", control=control)
    assert store.list() == []
    assert len(quantize(pico, store, "Q8_0").files) == 1
    assert list(store.paths.staging_dir.iterdir()) == []


def test_broken_weights_leave_the_store_as_it_was(pico: Path, store: ModelStore) -> None:
    quantize(pico, store, "Q8_0")
    before = left_behind(store)
    with Checkpoint.open(pico) as checkpoint:
        entries = checkpoint.tensors.entries
        tensors = {name: checkpoint.tensors.rows(name, 0, entry.shape[0]) for name, entry in entries.items()}
    tensors["model.layers.0.mlp.down_proj.weight"][3, 4] = np.nan
    write_safetensors(pico / "model.safetensors", tensors)
    with pytest.raises(QuantizationError, match=r"blk\.0\.ffn_down\.weight .*NaN"):
        quantize(pico, store, "Q4_0")
    assert left_behind(store) == before


def test_a_file_that_isnt_as_planned_is_not_published(
    pico: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = GGUFFileWriter.finish

    def finish(writer: GGUFFileWriter) -> Any:
        written = original(writer)
        data = bytearray(written.path.read_bytes())
        at = data.index(b"blk.0.attn_k.weight")
        data[at : at + 5] = b"blk.7"
        written.path.write_bytes(data)
        return written

    monkeypatch.setattr(GGUFFileWriter, "finish", finish)
    with pytest.raises(QuantizationError, match="isn't what was planned"):
        quantize(pico, store, "Q8_0")
    assert left_behind(store) == []


@pytest.mark.parametrize("type_", ["IQ2_XXS", "Q17"])
def test_an_unknown_type(pico: Path, store: ModelStore, type_: str) -> None:
    with pytest.raises((InvalidReference, QuantizationError)):
        quantize(pico, store, type_)


def test_a_type_that_needs_an_importance_matrix(pico: Path, store: ModelStore) -> None:
    with pytest.raises(QuantizationError, match="importance matrix"):
        quantize(pico, store, "Q2_K_S")


def test_a_file_is_no_checkpoint(pico: Path, store: ModelStore) -> None:
    with pytest.raises(QuantizationError, match="is a file"):
        quantize(pico / "model.safetensors", store, "Q4_0")


def test_an_unknown_architecture_costs_nothing(pico: Path, store: ModelStore) -> None:
    config = json.loads((pico / "config.json").read_text())
    write_json(pico / "config.json", config | {"architectures": ["OPTForCausalLM"]})
    with pytest.raises(CheckpointError, match=r"OPTForCausalLM.* is not known"):
        quantize(pico, store, "Q8_0")
    assert left_behind(store) == []


def test_from_the_hub(pico: Path, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded: list[int] = []
    with HubServer() as hub:
        repo = hub.add("someone/Pico-3M-Chat", pico)
        for key, value in hub.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        ref = ModelRef.parse("someone/Pico-3M-Chat")
        planned = quantize_reference(ref, ["Q8_0"], store=store, options=QuantizeOptions(dry_run=True))
        assert planned.plan is None
        assert planned.download is not None
        assert planned.download.fetch_bytes > 2**20
        control = JobControl(on_download=lambda event: downloaded.append(event.bytes_done))
        outcome = quantize_reference(ref, ["Q8_0"], store=store, control=control)
        again = quantize_reference(ref, ["Q8_0"], store=store)
    assert downloaded[-1] >= planned.download.total_bytes
    assert again.existing == ("Q8_0",)
    assert outcome.model is not None
    assert outcome.model.revision == repo.commit
    assert outcome.model.name == "someone/Pico-3M-Chat"
    info = read_gguf_info(outcome.files[0].path)
    assert outcome.files[0].path.name == "Pico-3M-Chat.Q8_0.gguf"
    assert info.name == "Pico 3M Chat"
    assert info.metadata["general.source.huggingface.repository"] == "someone/Pico-3M-Chat"
    assert info.metadata["general.source.huggingface.commit"] == repo.commit
    assert info.metadata["general.organization"] == "Someone"


def test_a_repository_with_ready_files_only(
    pico: Path, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are made of what lost least; where all lost much, it is refused."""
    whole, small = tmp_path / "whole", tmp_path / "small"
    quantize(pico, store, "F16", "Q8_0", "Q5_0", out_dir=whole)
    quantize(pico, store, "Q4_0", "Q5_0", out_dir=small)
    direct = quantize(pico, store, "Q4_0")
    with HubServer() as hub:
        repo = hub.add("someone/whole", whole)
        hub.add("someone/small", small)
        for key, value in hub.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        ref = ModelRef.parse("someone/whole")
        made = quantize_reference(ref, ["Q4_0"], store=store)
        with pytest.raises(ModelNotFound, match="choose one of Q4_0 Q5_0"):
            quantize_reference(ModelRef.parse("someone/small"), ["Q8_0"], store=store)
        streamed = QuantizeOptions(run=RunOptions(stream=True))
        with pytest.raises(QuantizationError, match="only safetensors are streamed"):
            quantize_reference(ref, ["Q5_1"], store=store, options=streamed)
    assert made.model is not None
    assert made.model.revision == repo.commit
    assert [file.path.name for file in made.files] == ["whole.Q4_0.gguf"]
    ours, theirs = (tensors(outcome.files[0].path) for outcome in (made, direct))
    assert ours == theirs
