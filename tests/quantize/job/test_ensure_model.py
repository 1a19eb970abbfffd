from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.gguf.info import read_gguf_info
from models.paths import Paths
from models.quantization_types import DEFAULT_TYPES
from models.reference import ModelRef
from models.store.manifest import Manifest, ManifestFile, Source
from models.store.store import ModelStore, StoredModel
from quantize.job.ensure_model import EnsuredFile, best_type, ensure_model, make_model, missing_types
from tests.hub_server import HubServer
from tests.pico import write_pico_checkpoint

ORG = ModelRef.parse("org/name")
DEMO = ModelRef.parse("demo")


def publish(store: ModelStore, *types: str, name: str = "org/name") -> StoredModel:
    source = Source(kind="hub", repo=name, revision="abc")
    with store.staging(ModelRef.parse(name)) as staging:
        for type_ in types:
            (staging.path / type_).write_bytes(b"123")
        files = tuple(ManifestFile.single(type_, type_, 3, "0") for type_ in types)
        return staging.publish(
            Manifest(name=name, source=source, files=files, created="2026-01-02T03:04:05+00:00")
        )


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "tiny.gguf", TinyModel())


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hf"))


def test_what_is_missing_of_a_model_that_is_not_here() -> None:
    assert missing_types(ORG, None, "Q4_K_M") == ("Q4_K_M",)
    assert missing_types(ORG.with_type("Q8_0"), None, "Q4_K_M") == ("Q8_0",)
    assert missing_types(DEMO, None, "Q4_K_M") == DEFAULT_TYPES
    assert missing_types(DEMO, None, "Q4_0") == (*DEFAULT_TYPES, "Q4_0")
    assert missing_types(DEMO.with_type("Q8_0"), None, "Q4_K_M") == ("Q8_0",)


def test_what_is_missing_of_a_model_that_is_here(store: ModelStore) -> None:
    model = publish(store, "Q8_0", "Q4_K_M")
    assert missing_types(ORG, model, "Q5_K_M") == ()
    assert missing_types(ORG.with_type("Q8_0"), model, "Q4_K_M") == ()
    assert missing_types(ORG.with_type("Q5_K_M"), model, "Q4_K_M") == ("Q5_K_M",)
    assert missing_types(DEMO, model, "Q4_K_M") == ()
    assert missing_types(DEMO, model, "Q5_K_M") == ("Q5_K_M",)
    assert missing_types(DEMO, model, "Q4_0") == ("Q5_K_M", "Q4_0")


def test_the_default_type_serves_the_plain_name(store: ModelStore) -> None:
    model = publish(store, "Q8_0", "Q4_K_M", "Q2_K")
    assert best_type(model, "Q2_K") == "Q2_K"
    assert best_type(model, "Q5_K_M") == "Q4_K_M"


def ensure(ref: ModelRef, store: ModelStore, made: list[Sequence[str]]) -> EnsuredFile:
    def make(_ref: ModelRef, types: Sequence[str], where: ModelStore) -> None:
        made.append(types)
        publish(where, *types)

    return ensure_model(ref, store, "Q4_K_M", make)


def test_what_is_here_is_not_made_again(store: ModelStore) -> None:
    made: list[Sequence[str]] = []
    publish(store, "Q8_0", "Q4_K_M")
    for ref, type_ in ((ORG, "Q4_K_M"), (ORG.with_type("Q8_0"), "Q8_0")):
        ensured = ensure(ref, store, made)
        assert ensured.file is not None
        assert (ensured.file.type, ensured.path.name) == (type_, type_)
    assert made == []


def test_what_is_missing_is_made_first(store: ModelStore) -> None:
    made: list[Sequence[str]] = []
    ensured = ensure(ORG.with_type("Q5_K_M"), store, made)
    assert ensured.file is not None
    assert ensured.file.type == "Q5_K_M"
    assert made == [("Q5_K_M",)]


def test_a_file_is_served_as_it_is(store: ModelStore, tiny_gguf: Path) -> None:
    assert ensure(ModelRef.parse(str(tiny_gguf)), store, []) == EnsuredFile(tiny_gguf)


@pytest.mark.model
def test_a_program_makes_a_model_in_its_own_process(store: ModelStore, tmp_path: Path) -> None:
    ref = ModelRef.parse(str(write_pico_checkpoint(tmp_path / "pico", n_layers=1)))
    ensured = ensure_model(ref, store, "Q8_0", make_model)
    assert read_gguf_info(ensured.path).ftype == "Q8_0"
    assert ensured.model == store.get(ref)


@pytest.mark.model
def test_a_ready_file_of_the_hub_is_downloaded(
    store: ModelStore, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "tiny.Q4_K_M.gguf").write_bytes(tiny_gguf.read_bytes())
    with HubServer() as hub:
        repo = hub.add("someone/tiny", folder)
        for key, value in hub.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        ensured = ensure_model(ModelRef.parse("someone/tiny"), store, "Q4_K_M", make_model)
    assert ensured.model is not None
    assert ensured.model.revision == repo.commit
    assert ensured.path.read_bytes() == tiny_gguf.read_bytes()


def test_looking_for_a_file_loads_neither_llama_cpp_nor_the_hubs_client() -> None:
    code = (
        "import sys, quantize.job.ensure_model\n"
        "print([name for name in ('llama_cpp', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
