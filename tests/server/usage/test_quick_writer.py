from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from server.usage.database import UsageDatabase
from server.usage.ledger import UsageLedger
from server.usage.quick_writer import AT_MOST, PAUSE_S, SLOW_S, QuickWriter
from tests.server.usage.test_ledger import ENTRY


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.step_s = 0.0

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(UsageDatabase(tmp_path / "usage.sqlite")):
        return tmp_path / "usage.sqlite"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(path: Path, clock: Clock) -> Iterator[QuickWriter]:
    with closing(QuickWriter(path, clock)) as made:
        made.allow()
        yield made


def requests_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        found: int = file.execute("SELECT coalesce(sum(requests), 0) FROM usage").fetchone()[0]
        return found


def test_an_entry_is_in_the_file_at_once(writer: QuickWriter, path: Path) -> None:
    assert writer.write(ENTRY)
    assert requests_in(path) == 1


def test_the_thread_is_the_first_and_has_its_turn(path: Path, clock: Clock) -> None:
    with closing(QuickWriter(path, clock)) as writer:
        assert not writer.write(ENTRY)
        writer.allow()
        assert [writer.write(ENTRY) for _ in range(AT_MOST + 1)] == [True] * AT_MOST + [False]
    assert requests_in(path) == AT_MOST


def test_it_waits_for_no_lock(writer: QuickWriter, path: Path, clock: Clock) -> None:
    assert writer.write(ENTRY)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not writer.write(ENTRY)
        other.execute("ROLLBACK")
    assert not writer.write(ENTRY)
    clock.now_s += PAUSE_S
    assert writer.write(ENTRY)
    assert requests_in(path) == 2


def test_a_slow_file_is_left_to_the_thread_for_a_while(writer: QuickWriter, path: Path, clock: Clock) -> None:
    assert writer.write(ENTRY)
    clock.step_s = 2 * SLOW_S
    assert writer.write(ENTRY)  # it is written all the same
    clock.step_s = 0.0
    assert not writer.write(ENTRY)
    clock.now_s += PAUSE_S
    assert writer.write(ENTRY)
    assert requests_in(path) == 3


def test_its_writes_wait_for_no_disk(writer: QuickWriter, path: Path) -> None:
    size = path.stat().st_size
    for _ in range(AT_MOST):
        writer.write(ENTRY)
    assert path.stat().st_size == size  # nothing was moved from the log beside it


async def test_the_ledger_counts_each_entry_once_whoever_writes_it(path: Path) -> None:
    ledger = UsageLedger(path)
    for _ in range(30):
        await ledger.add(ENTRY)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.create_task(ledger.add(ENTRY))
        await asyncio.sleep(0)
        assert not adding.done()  # a thread waits for the lock
        other.execute("ROLLBACK")
        await adding
    for _ in range(30):
        await ledger.add(ENTRY)
    assert requests_in(path) == 61
    ledger.close()
