"""The store alone: what is offered, what is kept, with which adapters, and how its folder is shared."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace

import pytest

from server.engine.batch import Adapters, Save
from server.worker.prefix.key import adapters_key
from server.worker.prefix.store import BUSY_BYTES_MAX, StoreSettings
from tests.server.worker.prefix_stores import PROMPT, SETTINGS, STATE, Stores, keep, offered


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


def test_a_write_waits_while_prompts_are_computed_and_then_goes_on(stores: Stores) -> None:
    store = stores.open()
    store.hold_writes(hold=True)
    store.keep(Save(0, PROMPT, ()), 0, memoryview(STATE))
    assert offered(store, [*PROMPT, 7]) is None
    assert not stores.files()
    store.hold_writes(hold=False)
    assert store.flush(10)
    assert offered(store, [*PROMPT, 7]) is not None


def test_a_write_waits_for_some_seconds_at_most(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.worker.prefix.store.HELD_S", 0.01)
    store = stores.open()
    store.hold_writes(hold=True)
    store.keep(Save(0, PROMPT, ()), 0, memoryview(STATE))
    while not stores.files():  # the test's own limit ends it
        time.sleep(0.01)


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


def test_up_to_a_checkpoint_where_memory_cannot_be_trimmed(stores: Stores) -> None:
    store = stores.open(replace(SETTINGS, can_trim=False))
    keep(store, PROMPT, checkpoint_at=200)
    for opened in (store, stores.open(replace(SETTINGS, can_trim=False))):
        found = offered(opened, PROMPT[:300])
        assert found is not None
        assert found.n_tokens == 200
        assert [one.n_tokens for one in found.checkpoints] == [200]
        assert found.checkpoints[0].state == STATE[:500]
        assert offered(opened, PROMPT[:200]) is None, "its last token is computed anyway"


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


def with_adapters(*files: bytes) -> StoreSettings:
    """A process in which the adapter with id i is of the i-th file."""
    return replace(
        SETTINGS, adapters_key=lambda adapters: adapters_key([(files[i], scale) for i, scale in adapters])
    )


def test_states_with_adapters_come_back_with_the_same_files_and_scales(stores: Stores) -> None:
    keep(stores.open(with_adapters(b"a", b"b")), PROMPT, adapters=((0, 1.0), (1, 0.5)))
    store = stores.open(with_adapters(b"x", b"b", b"a"))
    same: Adapters = ((1, 0.5), (2, 1.0))
    found = offered(store, [*PROMPT, 7], adapters=same)
    assert found is not None
    assert found.n_tokens == 600
    assert not store.wants(PROMPT, same, beside_others=False)
    others: list[Adapters] = [
        (),
        ((1, 0.5),),
        ((1, 1.0), (2, 0.5)),
        ((0, 1.0), (1, 0.5)),
        ((1, 0.5), (2, 0.9)),
    ]
    for other in others:
        assert offered(store, [*PROMPT, 7], adapters=other) is None
        assert store.wants(PROMPT, other, beside_others=False)


def test_the_same_tokens_are_kept_for_each_set_of_adapters(stores: Stores) -> None:
    store = stores.open(with_adapters(b"a"))
    sets: list[Adapters] = [(), ((0, 1.0),), ((0, 2.0),)]
    for adapters in sets:
        keep(store, PROMPT[:300], adapters=adapters)
    keep(store, PROMPT, adapters=sets[1])
    assert len(stores.files()) == len(store) == 3
    for adapters, n_tokens in zip(sets, (300, 600, 300), strict=True):
        found = offered(store, [*PROMPT, 7], adapters=adapters)
        assert found is not None
        assert found.n_tokens == n_tokens


def test_adapters_that_nobody_can_tell_apart_are_not_kept(stores: Stores) -> None:
    store = stores.open()
    assert not store.wants(PROMPT, ((0, 1.0),), beside_others=False)
    keep(store, PROMPT, adapters=((0, 1.0),))
    keep(store, PROMPT)
    assert len(stores.files()) == 1
    assert store.longest(PROMPT, ((0, 1.0),), 1) is None


def test_what_is_wanted(stores: Stores) -> None:
    store = stores.open()
    assert store.wants(PROMPT, (), beside_others=False)
    keep(store, PROMPT)
    assert not store.wants(PROMPT, (), beside_others=False)
    assert not store.wants([*PROMPT, *range(255)], (), beside_others=False)
    assert store.wants([*PROMPT, *range(256)], (), beside_others=False)
    big = stores.open(replace(SETTINGS, bytes_per_token=BUSY_BYTES_MAX / 500, max_bytes=10**12))
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


def test_what_is_refused_is_not_offered_again(stores: Stores) -> None:
    store = stores.open()
    keep(store, PROMPT)
    found = offered(store, PROMPT)
    assert found is not None
    store.drop(found.key)
    assert offered(store, PROMPT) is None


# --- the folder: its limit, its disk, and who else is there ----------------------------------------------


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
