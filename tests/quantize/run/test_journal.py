"""The journal keeps whole lines of the same key, and nothing else; its thread keeps it up to date."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from quantize.run.journal import Journal, Saver, key_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_it_is_read_again(path: Path) -> None:
    journal = Journal(path, "key")
    assert journal.done == set()
    journal.add([0, 1])
    journal.add([])
    journal.add([4])
    assert Journal(path, "key").done == {0, 1, 4}
    assert Journal(path, "key").done == {0, 1, 4}
    assert key_of(path) == "key"


def test_another_key_begins_anew(path: Path) -> None:
    Journal(path, "key").add([0])
    assert Journal(path, "other").done == set()
    assert Journal(path, "key").done == set()


def test_what_is_taken_back_is_not_noted_again(path: Path) -> None:
    journal = Journal(path, "key")
    journal.add(range(4))
    journal.take_back([1, 3])
    assert journal.done == Journal(path, "key").done == {0, 2}
    journal.add([1, 5])
    assert Journal(path, "key").done == {0, 2, 5}


@pytest.mark.parametrize("cut", range(1, 18))
def test_a_line_that_was_cut_short_does_not_count(path: Path, cut: int) -> None:
    journal = Journal(path, "key")
    journal.add([0, 1])
    journal.add([12, 13])
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path, "key")
    assert again.done == {0, 1}
    again.add([2])
    assert Journal(path, "key").done == {0, 1, 2}


@pytest.mark.parametrize(
    "content", [b"", b"\xff\n", b"{}\n", b'{"key":3}\n', b"[]", b'{"version":2,"key":"key"}\n']
)
def test_what_is_no_journal(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert key_of(path) is None
    assert Journal(path, "key").done == set()


def test_whole_tensors_are_saved_now_and_then(path: Path) -> None:
    journal = Journal(path, "key")
    with Saver([], journal, every_s=0.01) as saver:
        saver.complete(3)
        deadline = time.monotonic() + 30
        while 3 not in journal.done and time.monotonic() < deadline:
            time.sleep(0.005)
    assert Journal(path, "key").done == {3}


def test_an_error_saves_what_is_whole(path: Path) -> None:
    journal = Journal(path, "key")
    saver = Saver([], journal, every_s=3600)
    saver.complete(5)
    with pytest.raises(KeyboardInterrupt), saver:
        raise KeyboardInterrupt
    assert Journal(path, "key").done == {5}
