"""A model that sees is made with its projector, in one pass: published together, kept, replaced, left out."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest

from models.errors import CheckpointError, QuantizationError
from models.gguf.info import read_gguf_info, require_projector_for
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.control import JobControl, QuantizationProgress
from quantize.job.request import QuantizeOptions
from quantize.job.service import QuantizationOutcome, quantize_reference
from quantize.job.update import update_model
from quantize.run.options import RunOptions
from tests.hub_server import HubServer
from tests.pico import write_json, write_pico_checkpoint
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint
from tests.quantize.projectors.checkpoints import PREPROCESSOR

F16, Q8_0 = "mmproj-F16", "mmproj-Q8_0"


@pytest.fixture
def seeing(tmp_path: Path) -> Path:
    """A tiny Qwen3.5 with its vision."""
    family = next(family for family in ALL_FAMILIES if family.name == "qwen3.5-vision")
    golden = read_golden(family)
    folder = write_checkpoint(family, tmp_path, golden["config"], golden["tensors"])
    write_json(folder / "preprocessor_config.json", PREPROCESSOR)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))


def quantize(
    source: Path, store: ModelStore, *types: str, control: JobControl | None = None, **options: Any
) -> QuantizationOutcome:
    """Options are those of QuantizeOptions."""
    made = QuantizeOptions(run=RunOptions(threads=2), **options)
    return quantize_reference(ModelRef.parse(str(source)), types, store=store, options=made, control=control)


def test_it_is_published_with_the_model_and_made_once(seeing: Path, store: ModelStore) -> None:
    outcome = quantize(seeing, store, "Q8_0")
    assert [file.type for file in outcome.files] == ["Q8_0", F16]
    model = outcome.model
    assert model is not None
    assert model.projector is not None
    assert model.manifest.projector is not None
    assert list(model.types) == ["Q8_0"]
    assert model.projector.name == f"{seeing.name}.{F16}.gguf"
    assert model.manifest.projector.sha256 == (hashlib.sha256(model.projector.read_bytes()).hexdigest(),)
    assert model.manifest.parameters == read_gguf_info(model.types["Q8_0"].path).n_params
    eyes = read_gguf_info(model.projector)
    require_projector_for(eyes, read_gguf_info(model.types["Q8_0"].path))
    assert eyes.metadata["general.type"] == "mmproj"
    assert "corral.source.revision" in eyes.metadata
    again = quantize(seeing, store, "Q4_0")
    assert [file.type for file in again.files] == ["Q4_0"]
    assert again.model is not None
    assert again.model.projector == model.projector
    assert quantize(seeing, store, "Q8_0").files == ()
    forced = quantize(seeing, store, "Q8_0", force=True)
    assert [file.type for file in forced.files] == ["Q8_0", F16]


def test_another_type_takes_its_place_and_the_model_stays(seeing: Path, store: ModelStore) -> None:
    before = quantize(seeing, store, "Q8_0").model
    outcome = quantize(seeing, store, "Q8_0", projector="Q8_0")
    assert [file.type for file in outcome.files] == [Q8_0]
    assert before is not None
    assert outcome.model is not None
    assert outcome.model.types == before.types
    assert outcome.model.manifest.parameters == before.manifest.parameters
    assert before.projector is not None
    assert not before.projector.exists()
    assert quantize(seeing, store, "Q8_0", projector="Q8_0").files == ()


def test_it_can_be_left_out_and_made_later(seeing: Path, store: ModelStore) -> None:
    blind = quantize(seeing, store, "Q8_0", with_projector=False).model
    assert blind is not None
    assert blind.projector is None
    assert quantize(seeing, store, "Q8_0").files == ()
    seen = quantize(seeing, store, "Q8_0", projector="BF16").model
    assert seen is not None
    assert seen.projector is not None
    assert quantize(seeing, store, "Q4_0").model is not None


def test_an_update_makes_what_there_was(seeing: Path, store: ModelStore) -> None:
    ref = ModelRef.parse(str(seeing))
    before = quantize(seeing, store, "Q8_0", projector="BF16").model
    write_json(seeing / "preprocessor_config.json", {**PREPROCESSOR, "image_std": [1.0, 1.0, 1.0]})
    assert update_model(ref, store).is_new
    after = store.get(ref)
    assert after.projector is not None
    assert before is not None
    assert after.projector.name == f"{seeing.name}.mmproj-BF16.gguf"
    assert after.projector != before.projector


def test_a_folder_gets_it_beside(seeing: Path, store: ModelStore, tmp_path: Path) -> None:
    planned = quantize(seeing, store, "F16", "Q8_0", dry_run=True)
    assert planned.plan is not None
    assert planned.plan.projector is not None
    outcome = quantize(seeing, store, "F16", "Q8_0", out_dir=tmp_path / "out")
    names = [f"{seeing.name}.{type_}.gguf" for type_ in ("F16", "Q8_0", F16)]
    assert [file.path.name for file in outcome.files] == names
    assert [file.size_bytes for file in outcome.files] == [file.size_bytes for file in planned.plan.outputs]
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"With `{names[2]}` beside (`--mmproj`) it sees pictures." in card
    with pytest.raises(QuantizationError, match="exists"):
        quantize(seeing, store, "F16", out_dir=tmp_path / "out")


@pytest.mark.parametrize("n_done", [1, 45])
def test_an_interrupted_run_leaves_nothing_half(seeing: Path, store: ModelStore, n_done: int) -> None:
    """It ends once within the model's tensors, and once within the projector's, which are the last."""
    whole = quantize(seeing, ModelStore(Paths(seeing / "a", seeing / "b")), "Q8_0")

    def interrupt(event: QuantizationProgress) -> None:
        if event.tensors_done == n_done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(seeing, store, "Q8_0", control=JobControl(on_progress=interrupt))
    assert store.list() == []
    again = quantize(seeing, store, "Q8_0")
    assert again.resumed == n_done
    assert again.plan is not None
    assert again.plan.projector is not None
    assert n_done < len(again.plan.tensors)
    assert (n_done < again.plan.projector.first) == (n_done == 1)
    assert [file.sha256 for file in again.files] == [file.sha256 for file in whole.files]


def test_one_that_cannot_be_made_is_told_and_the_text_model_is_made(
    seeing: Path, store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    (seeing / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="image_mean"):
        quantize(seeing, store, "Q8_0", projector="F16")
    assert store.list() == []
    with caplog.at_level(logging.WARNING, "corral.quantize"):
        outcome = quantize(seeing, store, "Q8_0")
    assert "without a projector, for text alone: the checkpoint has no image_mean" in caplog.text
    assert [file.type for file in outcome.files] == ["Q8_0"]


def test_a_model_of_text_alone_has_none(store: ModelStore, tmp_path: Path) -> None:
    pico = write_pico_checkpoint(tmp_path / "pico", n_layers=1)
    with pytest.raises(QuantizationError, match="no projector that is known here; leave out --mmproj-type"):
        quantize(pico, store, "Q8_0", projector="F16")
    with pytest.raises(QuantizationError, match="can't be written as Q4_0"):
        quantize(pico, store, "Q8_0", projector="Q4_0")


def test_streamed_bytes_are_the_same(
    seeing: Path, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = quantize(seeing, ModelStore(Paths(tmp_path / "a", tmp_path / "b")), "Q8_0")
    with HubServer() as hub:
        for key, value in hub.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        hub.add("someone/seeing", seeing)
        options = QuantizeOptions(run=RunOptions(stream=True))
        made = quantize_reference(ModelRef.parse("someone/seeing"), ["Q8_0"], store=store, options=options)
    ours, theirs = (read_gguf_info(files[-1].path) for files in (made.files, usual.files))
    data = [info.path.read_bytes()[info.tensors[0].offset :] for info in (ours, theirs)]
    assert data[0] == data[1]
    assert made.verified == ("model.safetensors: sha256 is the Hub's",)
