"""Files of kept prefixes that aren't what they should be: nothing of them comes back."""

from __future__ import annotations

import random
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from server.worker.prefix.file import Bounds, PrefixHead, read_state, write
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
    state = random.Random(1).randbytes(4321)
    head = PrefixHead([1, 2, 3], bytes(32), 0, len(state))
    turns: list[int] = []
    written = tmp_path / "a.prefix"
    write(written, bytes(32), head, state, lambda: turns.append(written.exists()))
    assert turns == [False] * 5
    assert read_state(written, bytes(32), Bounds(10, 10)) == (head, memoryview(state))


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
