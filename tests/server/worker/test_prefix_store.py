"""The store alone, with made-up states: what is offered, what is kept; and nothing damaged comes back."""

from __future__ import annotations

import os
import random
import shutil
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from server.engine.prefix_source import StoredPrefix
from server.worker.prefix_file import Bounds
from server.worker.prefix_store import BESIDE_BYTES_MAX, PrefixStore, StoreSettings

SETTINGS = StoreSettings(
    key=b"k" * 32, bounds=Bounds(n_tokens_max=4096, n_vocab=1000), bytes_per_token=10.0, max_bytes=10**6
)
PROMPT = [token % 1000 for token in range(600)]
STATE = bytearray(random.Random(0).randbytes(6000))


class Stores:
    """Opens stores of one folder and closes them at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: list[PrefixStore] = []

    def open(self, settings: StoreSettings = SETTINGS) -> PrefixStore:
        store = PrefixStore(self.folder, settings)
        self._open.append(store)
        return store

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*/*") if path.is_file())

    def close(self) -> None:
        for store in self._open:
            store.close()


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = Stores(tmp_path / "prefixes")
    yield opened
    opened.close()


def keep(store: PrefixStore, tokens: list[int], state: bytearray = STATE, first: int = 0) -> None:
    store.keep(tokens, first, bytearray(state))
    assert store.flush(10)


def offered(store: PrefixStore, tokens: list[int], least: int = 1) -> StoredPrefix | None:
    """What the store offers once it has read what it wants to read."""
    deadline_s = time.monotonic() + 10
    while True:
        found = store.longest(tokens, (), least)
        if found is None or found.ready:
            return found
        store.wait()
        assert time.monotonic() < deadline_s, "it is never ready"


def test_what_was_kept_comes_back_after_a_restart(stores: Stores) -> None:
    keep(stores.open(), PROMPT)
    store = stores.open()
    found = offered(store, [*PROMPT, 7])
    assert found is not None
    assert found.n_tokens == 600
    taken = store.take(found.key)
    assert taken is not None
    head, state = taken
    assert (head.tokens, head.first, bytes(state)) == (PROMPT, 0, bytes(STATE))
    assert store.take(found.key) is None, "a state is in memory once"


def test_it_is_not_ready_before_it_has_been_read(stores: Stores) -> None:
    keep(stores.open(), PROMPT)
    found = stores.open().longest([*PROMPT, 7], (), 1)
    assert found is not None
    assert not found.ready


def test_the_last_token_of_a_prompt_is_left_to_be_computed(stores: Stores) -> None:
    store = stores.open()
    keep(store, PROMPT)
    found = offered(store, PROMPT)
    assert found is not None
    assert found.n_tokens == 599


def test_of_two_the_longer_and_none_below_the_least(stores: Stores) -> None:
    store = stores.open()
    keep(store, [*PROMPT[:300], 999, 999])
    keep(store, [*PROMPT[:400], 998, 998])
    found = offered(store, PROMPT)
    assert found is not None
    assert found.n_tokens == 400
    assert offered(store, PROMPT, 401) is None
    assert offered(store, [500, *PROMPT]) is None


def test_a_longer_one_replaces_its_own_beginnings(stores: Stores) -> None:
    store = stores.open()
    keep(store, PROMPT[:300])
    keep(store, [*PROMPT[:200], 999])
    keep(store, PROMPT)
    assert len(stores.files()) == len(store) == 2
    assert len(stores.open()) == 2


def test_only_whole_where_memory_cannot_be_trimmed(stores: Stores) -> None:
    store = stores.open(replace(SETTINGS, can_trim=False))
    keep(store, PROMPT[:300])
    keep(store, PROMPT)
    assert len(store) == 2, "the shorter one isn't contained in the longer"
    assert offered(store, PROMPT[:400]).n_tokens == 300  # type: ignore[union-attr]
    assert offered(store, PROMPT[:300]) is None
    assert offered(store, [*PROMPT, 1]).n_tokens == 600  # type: ignore[union-attr]


def test_a_window_that_has_moved_on_is_no_good_for_earlier_tokens(stores: Stores) -> None:
    store = stores.open(replace(SETTINGS, n_swa=100))
    keep(store, PROMPT, first=500)
    assert offered(store, [*PROMPT, 1]).n_tokens == 600  # type: ignore[union-attr]
    assert offered(store, [*PROMPT[:599], 1]).n_tokens == 599  # type: ignore[union-attr]
    assert offered(store, [*PROMPT[:598], 1]) is None, "it needs position 499"
    whole = stores.open(replace(SETTINGS, n_swa=100, key=b"w" * 32))
    keep(whole, PROMPT, first=0)
    assert offered(whole, [*PROMPT[:300], 1]).n_tokens == 300  # type: ignore[union-attr]


def test_states_with_adapters_are_another_matter(stores: Stores) -> None:
    store = stores.open()
    keep(store, PROMPT)
    assert store.longest(PROMPT, ((1, 1.0),), 1) is None
    assert not store.wants(list(range(900)), ((1, 1.0),), beside_others=False)


def test_what_is_wanted(stores: Stores) -> None:
    store = stores.open()
    assert store.wants(PROMPT, (), beside_others=False)
    keep(store, PROMPT)
    assert not store.wants(PROMPT, (), beside_others=False)
    assert not store.wants([*PROMPT, *range(255)], (), beside_others=False)
    assert store.wants([*PROMPT, *range(256)], (), beside_others=False)
    big = stores.open(replace(SETTINGS, bytes_per_token=BESIDE_BYTES_MAX / 500, max_bytes=10**12))
    other = [999, *PROMPT]
    assert big.wants(other, (), beside_others=False)
    assert not big.wants(other, (), beside_others=True), "copying it would hold up the others"
    small = stores.open(replace(SETTINGS, max_bytes=11_000))
    assert not small.wants(other, (), beside_others=False), "one file would be more than half of all"


def test_another_key_sees_nothing(stores: Stores) -> None:
    keep(stores.open(), PROMPT)
    other = stores.open(replace(SETTINGS, key=b"o" * 32))
    assert len(other) == 0
    assert offered(other, PROMPT) is None


def test_a_file_of_another_key_under_this_name_is_deleted(stores: Stores) -> None:
    keep(stores.open(), PROMPT)
    (file,) = stores.files()
    other = replace(SETTINGS, key=b"o" * 32)
    folder = stores.folder / other.key.hex()[:24]
    folder.mkdir()
    shutil.copy(file, folder / file.name)
    assert len(stores.open(other)) == 0
    assert stores.files() == [file]


HEAD_BYTES = 8 + 4 + 32 + 4 + 4 + 8


@pytest.mark.parametrize("seed", range(200))
def test_a_damaged_file_is_never_offered(stores: Stores, seed: int) -> None:
    """Cut, lengthened or changed anywhere: it is gone, at the start or when its turn comes."""
    chance = random.Random(seed)
    keep(stores.open(), PROMPT)
    (file,) = stores.files()
    data = bytearray(file.read_bytes())
    match seed % 4:
        case 0:
            del data[chance.randrange(len(data)) :]
        case 1:
            data += chance.randbytes(chance.randint(1, 100))
        case 2:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 3:
            at = chance.randrange(HEAD_BYTES)
            data[at : at + 4] = struct.pack("<I", chance.choice([0, 1, 2**31, 2**32 - 1]))
    file.write_bytes(data)
    store = stores.open()
    assert offered(store, PROMPT) is None
    assert stores.files() == []


def test_a_file_that_is_damaged_while_it_is_indexed(stores: Stores) -> None:
    keep(stores.open(), PROMPT)
    store = stores.open()
    (file,) = stores.files()
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)
    assert offered(store, PROMPT) is None
    assert len(store) == 0


def test_a_file_that_another_process_has_deleted(stores: Stores) -> None:
    keep(stores.open(), PROMPT)
    store = stores.open()
    stores.files()[0].unlink()
    assert offered(store, PROMPT) is None
    keep(store, PROMPT)
    assert offered(store, PROMPT) is not None


def test_tokens_outside_the_vocabulary_or_the_context(stores: Stores) -> None:
    keep(stores.open(), PROMPT)
    for bounds in (Bounds(4096, 500), Bounds(599, 1000)):
        keep(stores.open(), PROMPT)
        assert len(stores.open(replace(SETTINGS, bounds=bounds))) == 0


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


def test_what_is_refused_is_not_offered_again(stores: Stores) -> None:
    store = stores.open()
    keep(store, PROMPT)
    found = offered(store, PROMPT)
    assert found is not None
    store.drop(found.key)
    assert offered(store, PROMPT) is None
