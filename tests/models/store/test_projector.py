"""A projector in the store: one for all types of its model, which goes with the last of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.errors import StoreError
from models.store.manifest import ManifestFile, read_manifest
from models.store.store import ModelStore
from tests.models.store.publishing import REF, entry, everything_under, manifest, publish

F16, Q8_0 = "mmproj-F16", "mmproj-Q8_0"


def ggufs(store: ModelStore) -> set[str]:
    return {Path(name).name for name in everything_under(store.paths.models_dir) if name.endswith(".gguf")}


def test_it_belongs_to_every_type(store: ModelStore) -> None:
    first = publish(store, "Q8_0", data=b"12345", projector=F16)
    assert first.projector is not None
    assert (first.projector.name, first.size_bytes) == (f"name.{F16}.gguf", 10)
    publish(store, "Q4_K_M")
    model = store.get(REF)
    assert model.projector == first.projector
    assert set(model.types) == {"Q8_0", "Q4_K_M"}
    assert read_manifest(model.folder / "manifest.json") == model.manifest
    assert publish(store, "F16").manifest.projector is not None


def test_a_newer_one_takes_its_place(store: ModelStore) -> None:
    publish(store, "Q8_0", projector=F16)
    assert publish(store, projector=Q8_0).types.keys() == {"Q8_0"}
    assert ggufs(store) == {"name.Q8_0.gguf", f"name.{Q8_0}.gguf"}


def test_it_goes_with_the_last_type(store: ModelStore) -> None:
    model = publish(store, "Q8_0", "Q4_K_M", projector=F16)
    assert [file.type for file in store.remove(REF, "Q8_0")] == ["Q8_0"]
    assert store.get(REF).projector == model.projector
    assert model.projector is not None
    with store.use(model.projector), pytest.raises(StoreError, match=f"{F16} is being.*{os.getpid()}"):
        store.remove(REF)
    assert [file.type for file in store.remove(REF, "Q4_K_M")] == ["Q4_K_M", F16]
    assert not everything_under(store.paths.models_dir)


def test_one_that_is_missing_is_told_and_its_model_stays(store: ModelStore) -> None:
    model = publish(store, "Q8_0", projector=F16)
    assert model.projector is not None
    model.projector.unlink()
    [problem] = store.scan().problems
    assert problem.endswith("is missing; run: corral quantize org/name --mmproj-type F16")
    assert (store.get(REF).projector, set(store.get(REF).types)) == (None, {"Q8_0"})


def test_one_that_is_cut_is_not_published(store: ModelStore) -> None:
    whole = entry(F16, b"12345")
    with store.staging(REF) as staging:
        (staging.path / f"name.{F16}.gguf").write_bytes(b"123")
        with pytest.raises(StoreError, match=f"{F16}.*nothing was published"):
            staging.publish(manifest(projector=whole))
    assert store.list() == []


def test_one_of_the_hub_stays_where_it_is(store: ModelStore, tmp_path: Path) -> None:
    path = tmp_path / "hub" / "mmproj.gguf"
    path.parent.mkdir()
    path.write_bytes(b"12345")
    linked = ManifestFile.single(F16, str(path), 5, "a")
    with pytest.raises(StoreError, match="not absolute"):
        store.link(manifest(projector=entry(F16, b"12345")))
    publish(store, "Q8_0")
    assert store.link(manifest(projector=linked)).projector == path
    path.unlink()
    [problem] = store.scan().problems
    assert problem.endswith("run: corral pull org/name")
