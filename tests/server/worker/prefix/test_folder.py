"""The folder of kept prefixes: its limit, its disk, and who else is there."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest

from tests.server.worker.prefix_stores import PROMPT, SETTINGS, Stores, keep, offered


def test_a_file_that_another_process_has_deleted(stores: Stores) -> None:
    keep(stores.open(), PROMPT)
    store = stores.open()
    stores.files()[0].unlink()
    assert offered(store, PROMPT) is None
    keep(store, PROMPT)
    assert offered(store, PROMPT) is not None


def test_the_folder_stays_below_its_limit_and_the_oldest_goes(stores: Stores) -> None:
    settings = replace(SETTINGS, max_bytes=30_000)
    store = stores.open(settings)
    other_model = stores.open(replace(settings, key=b"o" * 32))
    for i, owner in enumerate((store, other_model, store)):
        keep(owner, [i, *PROMPT])
        for path in stores.files():
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 100))
    first = offered(store, [0, *PROMPT])
    assert first is not None
    assert store.take(first.key) is not None  # used: no longer the oldest
    assert store.flush(10)
    keep(store, [3, *PROMPT])
    assert sum(path.stat().st_size for path in stores.files()) <= 30_000
    assert offered(stores.open(settings), [0, *PROMPT]) is not None
    assert len(stores.open(replace(settings, key=b"o" * 32))) == 0, "the other model's was used longest ago"


def test_a_nearly_full_disk_gets_nothing(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(stores.folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=20_000))
    store = stores.open()
    keep(store, PROMPT)
    assert stores.files() == []
    assert len(store) == 0
    assert store.wants(PROMPT, (), beside_others=False), "another time it may have room"


def test_a_write_that_fails_leaves_nothing(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    store = stores.open()
    folder = stores.folder / SETTINGS.key.hex()[:24]
    folder.rmdir()
    folder.write_text("no folder")
    keep(store, PROMPT)
    assert "wasn't kept" in caplog.text
    assert offered(store, PROMPT) is None


def test_what_dead_writers_left_is_swept(stores: Stores) -> None:
    keep(stores.open(), PROMPT)
    (file,) = stores.files()
    old, new = file.with_name(".a.prefix.tmp"), file.with_name(".b.prefix.tmp")
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, 0))
    stores.open()
    assert stores.files() == sorted([file, new])
