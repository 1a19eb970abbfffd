from __future__ import annotations

import pytest

from models.errors import StoreError
from models.store.manifest import ManifestFile
from models.store.store import ModelStore
from tests.models.store.publishing import (
    REF,
    entry,
    manifest,
)


def test_nothing_is_left_of_what_was_not_published(store: ModelStore) -> None:
    def interrupted() -> None:
        with store.staging(REF) as staging:
            (staging.path / "name.Q8_0.gguf").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.list() == []
    assert not any(store.paths.staging_dir.iterdir())


def test_publish_checks_the_files(store: ModelStore) -> None:
    with store.staging(REF) as staging:
        with pytest.raises(StoreError, match="no file"):
            staging.publish(manifest(entry("Q8_0", b"weights")))
        (staging.path / "name.Q8_0.gguf").write_bytes(b"short")
        with pytest.raises(StoreError, match=r"5 bytes were written and 7 were planned"):
            staging.publish(manifest(entry("Q8_0", b"weights")))
        outside = ManifestFile.single("Q8_0", "../x", 1, "0")
        with pytest.raises(StoreError, match="no file"):
            staging.publish(manifest(outside))
    assert store.list() == []


def test_stale_staging_is_swept_and_live_staging_is_not(store: ModelStore) -> None:
    stale = store.paths.staging_dir / "abandoned"
    with store.staging(REF) as first:
        stale.mkdir()
        (stale / "x.gguf").write_bytes(b"x")
        with store.staging(REF) as second:
            assert first.path.is_dir()
            assert first.path != second.path
            assert not stale.exists()
