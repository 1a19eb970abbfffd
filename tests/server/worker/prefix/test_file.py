"""Files of kept prefixes that aren't what they should be: nothing of them comes back."""

from __future__ import annotations

import random
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from server.engine.batch import Checkpoint, Save
from server.worker.prefix.file import Bounds, kept_prefix, read_state, write
from tests.server.worker.prefix_stores import PROMPT, SETTINGS, Stores, keep, offered

HEAD_BYTES = 8 + 4 + 32 + 32 + 4 + 4 + 8


def test_a_file_of_another_key_under_this_name_is_deleted(stores: Stores) -> None:
    keep(stores.open(), PROMPT)
    (file,) = stores.files()
    other = replace(SETTINGS, key=b"o" * 32)
    folder = stores.folder / other.key.hex()[:24]
    folder.mkdir()
    shutil.copy(file, folder / file.name)
    assert len(stores.open(other)) == 0
    assert stores.files() == [file]


def test_a_state_is_written_piece_by_piece_each_in_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.worker.prefix.file._PIECE_BYTES", 1000)
    state = memoryview(random.Random(1).randbytes(4321))
    checkpoint = Checkpoint(2, memoryview(bytes(1500)), is_border=True)
    kept = kept_prefix(Save(0, [1, 2, 3], (), (checkpoint,)), bytes(32), 0, state)
    turns: list[int] = []
    written = tmp_path / "a.prefix"
    write(written, bytes(32), kept, lambda: turns.append(written.exists()))
    assert turns == [False] * 7
    read = read_state(written, bytes(32), Bounds(10, 10))
    assert (read.head, read.state) == (kept.head, state)
    assert read.head.n_file_bytes == written.stat().st_size
    (again,) = read.checkpoints
    assert (again.n_tokens, again.is_border, again.state) == (2, True, checkpoint.state)


def test_a_file_has_the_latest_borders_that_take_no_more_than_the_state() -> None:
    def checkpoint(n_tokens: int, n_bytes: int, *, is_border: bool = False) -> Checkpoint:
        return Checkpoint(n_tokens, memoryview(bytes(n_bytes)), is_border)

    all_ = (
        checkpoint(10, 30),
        checkpoint(20, 40, is_border=True),
        checkpoint(30, 40),
        checkpoint(40, 50, is_border=True),
    )
    kept = kept_prefix(Save(0, list(range(50)), (), all_), bytes(32), 0, memoryview(bytes(100)))
    assert [one.n_tokens for one in kept.checkpoints] == [20, 40]
    kept = kept_prefix(Save(0, list(range(50)), (), all_), bytes(32), 0, memoryview(bytes(130)))
    assert [one.n_tokens for one in kept.checkpoints] == [20, 30, 40]


@pytest.mark.parametrize("seed", range(200))
def test_a_damaged_file_is_never_offered(stores: Stores, seed: int) -> None:
    """Cut, lengthened or changed anywhere: it is gone, at the start or when its turn comes."""
    chance = random.Random(seed)
    keep(stores.open(), PROMPT, checkpoint_at=400)
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
            numbers = [struct.pack("<I", number) for number in (0, 1, 2**31, 2**32 - 1)]
            data[at : at + 4] = chance.choice([new for new in numbers if new != data[at : at + 4]])
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


def test_tokens_outside_the_vocabulary_or_the_context(stores: Stores) -> None:
    keep(stores.open(), PROMPT)
    for bounds in (Bounds(4096, 500), Bounds(599, 1000)):
        keep(stores.open(), PROMPT)
        assert len(stores.open(replace(SETTINGS, bounds=bounds))) == 0
