from __future__ import annotations

import logging
from pathlib import Path

import pytest

from models.errors import ConfigError
from server.keys.caller import ALL_MODELS, ALL_SCOPES, ANYONE, KeyLimits
from server.keys.key_file import KeyFile
from server.keys.key_ring import ExpiredKey, KeyRing


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path, clock: Clock) -> KeyFile:
    return KeyFile(tmp_path / "keys.json", clock)


def add(file: KeyFile, name: str = "bob", expires: int | None = None) -> bytes:
    return file.add(name, ["infer"], ["org/*"], KeyLimits(streams=2), expires)[1].encode()


def test_without_keys_none_is_asked_for(file: KeyFile) -> None:
    ring = KeyRing((), file)
    assert not ring.asks_for_keys()
    assert ring.caller_by_owner("") == ANYONE


def test_a_plain_key_may_do_everything() -> None:
    ring = KeyRing(["one", "two"])
    assert ring.asks_for_keys()
    first, second = ring.caller_of([b"one"]), ring.caller_of([b"two"])
    assert first is not None
    assert second is not None
    assert first.scopes == frozenset(ALL_SCOPES)
    assert first.models == ALL_MODELS
    assert first.limits.is_none
    assert first.owner != second.owner
    assert ring.caller_of([b"three"]) is None
    assert ring.caller_of([]) is None
    assert ring.caller_of([b"three", b"two"]) == second


def test_a_named_key_has_what_it_was_given(file: KeyFile) -> None:
    secret = add(file)
    caller = KeyRing((), file).caller_of([b"x", secret])
    assert caller is not None
    assert (caller.name, caller.scopes, caller.models) == ("bob", frozenset({"infer"}), ("org/*",))
    assert caller.limits.streams == 2


def test_a_change_of_the_file_counts_at_once(file: KeyFile) -> None:
    ring = KeyRing((), file)
    assert not ring.asks_for_keys()
    bob = add(file)
    assert ring.asks_for_keys()
    owner = ring.caller_of([bob])
    eve = add(file, "eve")
    assert ring.caller_of([eve]) is not None
    rotated = file.rotate("bob")[1].encode()
    assert ring.caller_of([bob]) is None
    assert ring.caller_of([rotated]) == owner
    file.remove("bob")
    assert ring.caller_of([rotated]) is None
    assert [key.name for key in ring.named()] == ["eve"]


def test_once_keys_were_asked_for_they_always_are(file: KeyFile, caplog: pytest.LogCaptureFixture) -> None:
    bob = add(file)
    ring = KeyRing((), file)
    file.remove("bob")
    assert ring.asks_for_keys()
    file.path.unlink()
    assert ring.asks_for_keys()
    assert ring.caller_of([bob]) is None
    assert caplog.text.count("is gone") == 1
    assert add(file, "again") not in (b"", bob)
    assert ring.asks_for_keys()


def test_a_damaged_file_keeps_the_keys_as_they_were(file: KeyFile, caplog: pytest.LogCaptureFixture) -> None:
    bob = add(file)
    ring = KeyRing(["plain"], file)
    file.path.write_text("{")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert ring.caller_of([bob]) is not None
    assert caplog.text.count("stay as they were") == 1
    with pytest.raises(ConfigError):
        KeyRing((), file)


def test_an_expired_key(file: KeyFile, clock: Clock) -> None:
    bob, eve = add(file, expires=2000), add(file, "eve")
    ring = KeyRing((), file, clock)
    owner = ring.caller_of([bob])
    assert owner is not None
    clock.now = 1999.9
    assert ring.caller_of([bob]) is not None
    clock.now = 2000.0
    with pytest.raises(ExpiredKey) as expired:
        ring.caller_of([bob, b"other"])
    assert (expired.value.name, expired.value.expired) == ("bob", 2000)
    with_another = ring.caller_of([bob, eve])
    assert with_another is not None
    assert with_another.name == "eve"
    assert ring.caller_by_owner(owner.owner) is None


def test_the_secret_before_a_rotation_is_good_for_the_overlap(file: KeyFile, clock: Clock) -> None:
    old = add(file)
    new = file.rotate("bob", 600)[1].encode()
    ring = KeyRing((), file, clock)
    assert ring.caller_of([old]) == ring.caller_of([new])
    clock.now += 600
    with pytest.raises(ExpiredKey):
        ring.caller_of([old])
    assert ring.caller_of([new]) is not None
