from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import StoreError
from models.reference import ModelRef
from models.store.manifest import Manifest, ManifestFile, Source
from models.store.store import ModelStore
from tests.models.store.publishing import (
    publish,
)


def test_local_models_are_found_by_path_and_by_name(store: ModelStore, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    ref = ModelRef.parse(str(folder))
    source = Source(kind="path", path=str(folder), revision="local-1")
    with store.staging(ref) as staging:
        (staging.path / "a.gguf").write_bytes(b"a")
        staging.publish(
            Manifest(
                name="mine", source=source, created="x", files=(ManifestFile.single("Q8_0", "a.gguf", 1, ""),)
            )
        )
    assert store.get(ref).name == "mine"
    assert store.get(ModelRef.parse("mine:8bit")).name == "mine"
    assert store.find(ref, revision="local-2") is None
    (tmp_path / "other" / "mine").mkdir(parents=True)
    assert store.find(ModelRef.parse(str(tmp_path / "other" / "mine"))) is None


def test_incomplete_files_are_not_listed(store: ModelStore) -> None:
    model = publish(store, "Q8_0", "Q4_K_M")
    with model.types["Q8_0"].path.open("ab") as file:
        file.write(b"x")
    listing = store.scan()
    assert list(listing.models[0].types) == ["Q4_K_M"]
    assert len(listing.problems) == 1
    assert "has 8 bytes instead of 7" in listing.problems[0]
    assert "corral quantize org/name:Q8_0" in listing.problems[0]
    model.types["Q4_K_M"].path.unlink()
    assert store.list() == []
    assert len(store.scan().problems) == 2


def test_names_that_are_no_folder(store: ModelStore) -> None:
    with pytest.raises(StoreError, match="name"), store.lock(ModelRef(kind="hub", repo="..")):
        pass
