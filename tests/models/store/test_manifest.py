from __future__ import annotations

import json

import pytest

from models.errors import StoreError
from models.store.manifest import read_manifest, write_manifest
from models.store.store import ModelStore
from tests.models.store.publishing import (
    COMMIT,
    OTHER_COMMIT,
    REF,
    everything_under,
    publish,
)


def test_types_are_merged_and_replaced(store: ModelStore) -> None:
    publish(store, "Q8_0")
    publish(store, "Q4_K_M")
    first = store.get(REF).types["Q8_0"].path
    publish(store, "Q8_0", data=b"better weights")
    (model,) = store.list()
    assert set(model.types) == {"Q8_0", "Q4_K_M"}
    assert model.types["Q8_0"].path.read_bytes() == b"better weights"
    assert not first.exists()
    assert len([name for name in everything_under(store.paths.models_dir) if name.endswith(".gguf")]) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema_version": 1}',
        b'{"schema_version": 99}',
        b"\xff\xfe",
        b'{"schema_version":1,"x":2}',
    ],
)
def test_a_corrupt_manifest_hides_only_its_model(store: ModelStore, content: bytes) -> None:
    broken = publish(store, "Q8_0", revision=OTHER_COMMIT)
    (broken.folder / "manifest.json").write_bytes(content)
    publish(store, "Q8_0")
    listing = store.scan()
    assert [model.revision for model in listing.models] == [COMMIT]
    (problem,) = listing.problems
    assert str(broken.folder / "manifest.json") in problem
    assert "; " in problem
    publish(store, "Q4_K_M", revision=OTHER_COMMIT)  # makes it whole again
    assert store.scan().problems == ()
    assert len(store.list()) == 2


def test_a_corrupt_model_can_be_removed(store: ModelStore) -> None:
    broken = publish(store, "Q8_0")
    (broken.folder / "manifest.json").write_bytes(b"{")
    store.remove(REF)
    assert not broken.folder.exists()


def test_manifests_that_contradict_themselves(store: ModelStore) -> None:
    path = publish(store, "Q8_0").folder / "manifest.json"
    text = path.read_text()
    for old, new in (('"size_bytes": 7', '"size_bytes": -7'), ("name.Q8_0.gguf", "../x"), ('["', '["a", "')):
        if old not in text:
            old, new = '"sha256": [', '"sha256": ["a", '  # noqa: PLW2901
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(StoreError, match="corrupt"):
            read_manifest(path)


def test_what_a_newer_corral_has_written_is_kept(store: ModelStore) -> None:
    path = publish(store, "Q8_0").folder / "manifest.json"
    newer = json.loads(path.read_text())
    newer |= {"rating": {"stars": [5]}, "unknown": None, "more": "x"}
    newer["source"] |= {"mirror": "a", "unknown": {"b": 1}}
    newer["files"][0] |= {"kernels": ["k"], "source": "s"}
    path.write_text(json.dumps(newer))
    manifest = read_manifest(path)
    assert (manifest.name, manifest.files[0].type) == (newer["name"], "Q8_0")
    write_manifest(path, manifest)
    assert json.loads(path.read_text()) == newer
    publish(store, "Q4_K_M")
    merged = json.loads(path.read_text())
    (kept,) = (file for file in merged["files"] if file["type"] == "Q8_0")
    assert kept == newer["files"][0]
    assert (merged["rating"], merged["more"]) == (newer["rating"], "x")


def test_a_manifest_says_nothing_of_unknown_members_where_there_are_none(store: ModelStore) -> None:
    path = publish(store, "Q8_0").folder / "manifest.json"
    assert "unknown" not in path.read_text()
