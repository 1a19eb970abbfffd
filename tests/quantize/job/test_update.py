"""`update_model` on a Hub of this process: what changed is fetched, and what didn't isn't."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import ModelNotFound
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.job.ensure_model import make_model
from quantize.job.service import quantize_reference
from quantize.job.update import update_model
from tests.hub_server import HubServer
from tests.pico import write_pico_checkpoint

TINY = ModelRef.parse("someone/tiny")


def use(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    for key, value in hub.environment(tmp_path).items():
        monkeypatch.setenv(key, value)
    return ModelStore(Paths.from_environment())


def test_weights_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_pico_checkpoint(tmp_path / "weights")
    with HubServer() as hub:
        repo = hub.add("someone/tiny", folder)
        store = use(hub, tmp_path, monkeypatch)
        quantize_reference(TINY, ("Q8_0", "Q4_0"), store=store)
        before = store.get(TINY)
        same = update_model(TINY, store)
        assert (same.is_new, same.types, same.old_revision) == (False, ("Q8_0", "Q4_0"), repo.commit)
        assert len(hub.downloads("model.safetensors")) == 1
        write_pico_checkpoint(folder, seed=7)
        new_commit = repo.push(folder)
        update = update_model(TINY, store)
        assert (update.is_new, update.old_revision, update.new_revision) == (
            True,
            before.revision,
            new_commit,
        )
        assert update.document()["updated"] is True
        assert len(hub.downloads("model.safetensors")) == 2
        assert len(hub.downloads("tokenizer.json")) == 1, "it hasn't changed"
    after = store.get(TINY)
    assert list(after.types) == ["Q8_0", "Q4_0"]
    for type_ in after.types:
        assert after.types[type_].path.read_bytes() != before.types[type_].path.read_bytes()
        assert before.types[type_].path.exists(), "a server may have it open"


def test_a_ready_gguf_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gguf"
    folder.mkdir()
    write_tiny_gguf(folder / "tiny.F32.gguf", TinyModel())
    with HubServer() as hub:
        repo = hub.add("someone/tiny", folder)
        store = use(hub, tmp_path, monkeypatch)
        make_model(TINY, (), store)
        assert not update_model(TINY, store).is_new
        write_tiny_gguf(folder / "tiny.F32.gguf", TinyModel(n_ctx_train=999))
        commit = repo.push(folder)
        update = update_model(TINY, store)
        assert (update.is_new, update.new_revision) == (True, commit)


def test_a_folder_and_what_is_not_here(tmp_path: Path) -> None:
    folder = write_pico_checkpoint(tmp_path / "weights")
    store = ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hf"))
    ref = ModelRef.parse(str(folder))
    with pytest.raises(ModelNotFound, match="is not here"):
        update_model(ref, store)
    quantize_reference(ref, ("Q4_0",), store=store)
    assert not update_model(ref, store).is_new
    write_pico_checkpoint(folder, seed=3)
    assert update_model(ref, store).is_new
