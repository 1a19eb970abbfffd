"""What is kept survives a killed process, stays within its limits, and is never half there."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from models.errors import DiskFull, StoreError
from server.responses import store
from server.responses.database import MOST_HISTORY_BYTES, StateDatabase
from server.responses.read import HistoryWanted
from server.responses.records import Item, Limits, Missing, Page, Record, TooLong
from server.state import state_thread

LIMITS = Limits(n_bytes=1 << 20, n_records=1_000)


def record(record_id: str, previous: str | None = None, owner: str = "me", body: bytes = b"{}") -> Record:
    return Record(id=record_id, kind="response", owner=owner, created=1, body=body, previous=previous)


def item(item_id: str, n_bytes: int = 10) -> Item:
    return Item(id=item_id, body=b'"%b"' % (b"x" * (n_bytes - 2)))


def ids_in(path: Path) -> list[str]:
    """What another program finds in the file, in the order in which it came."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id FROM records ORDER BY created, used")
        return [row[0] for row in rows]


def answered(record_id: str) -> store.Answered:
    return record(record_id), [], []


def connection_of(state: StateDatabase) -> sqlite3.Connection:
    connection = state._file._connection
    assert connection is not None
    return connection


def test_a_chain_is_its_items_in_order(tmp_path: Path) -> None:
    state = StateDatabase(tmp_path / "a" / "state.sqlite", LIMITS)
    state.add(record("r1"), [item("i1"), item("i2")], [item("o1")])
    state.add(record("r2", "r1"), [item("i3")], [item("o2"), item("o3")])
    assert [known.id for known in state.history("me", "r2")] == ["i1", "i2", "o1", "i3", "o2", "o3"]
    assert [known.id for known in state.items("me", "response", "r2")] == ["i3"]
    assert state.find_items("me", ["o3", "zz"]).keys() == {"o3"}
    state.close()


def test_nobody_sees_anothers(tmp_path: Path) -> None:
    state = StateDatabase(tmp_path / "state.sqlite", LIMITS)
    state.add(record("r1"), [item("i1")])
    for action in (
        lambda: state.get("you", "response", "r1"),
        lambda: state.history("you", "r1"),
        lambda: state.delete("you", "response", "r1"),
        lambda: state.items("you", "response", "r1"),
        lambda: state.get("me", "conversation", "r1"),
    ):
        with pytest.raises(Missing):
            action()
    assert state.find_items("you", ["i1"]) == {}
    assert state.get("me", "response", "r1").id == "r1"
    state.close()


def test_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    state = StateDatabase(tmp_path / "state.sqlite", Limits(n_bytes=1 << 20, n_records=3))
    state.add(record("r1"))
    state.add(record("r2"))
    state.add(record("r3", "r1"))
    state.history("me", "r3")  # uses r1, too
    state.add(record("r4"))
    with pytest.raises(Missing):
        state.get("me", "response", "r2")
    assert state.history("me", "r3") == []
    state.close()


def test_bytes_are_bounded_and_the_file_with_them(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = StateDatabase(path, Limits(n_bytes=1 << 20, n_records=1_000))
    for i in range(60):
        state.add(record(f"r{i}"), [item(f"i{i}", 100_000)])
    assert ids_in(path) == [f"r{i}" for i in range(50, 60)]
    with pytest.raises(StoreError, match="response_store_bytes"):
        state.add(record("large"), [item("large", 2 << 20)])
    assert len(ids_in(path)) == 10
    state.close()
    assert path.stat().st_size < 3 << 20


def test_deleted_items_count_no_more(tmp_path: Path) -> None:
    state = StateDatabase(tmp_path / "state.sqlite", Limits(n_bytes=100_000, n_records=10))
    state.add(Record(id="c", kind="conversation", owner="me", created=1, body=b"{}"))
    for _ in range(20):
        state.append("me", "c", [], lambda _: [item("big", 60_000)])
        state.delete_item("me", "c", "big")
    assert state.items("me", "conversation", "c") == []
    with pytest.raises(Missing):
        state.delete_item("me", "c", "big")
    state.close()


def test_a_response_and_its_conversation_are_one(tmp_path: Path) -> None:
    state = StateDatabase(tmp_path / "state.sqlite", LIMITS)
    with pytest.raises(Missing):
        state.add_to_conversation(record("r1"), "gone", [item("i1")], [])
    with pytest.raises(Missing):
        state.get("me", "response", "r1")
    state.close()


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"not a database, " * 1_000)
    state = StateDatabase(path, LIMITS)
    state.add(record("r1"))
    state.close()
    assert path.with_suffix(".damaged").read_bytes().startswith(b"not a database")


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    state = StateDatabase(tmp_path / "kept" / "state.sqlite", LIMITS)
    state.add(record("r1"))
    modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "kept").iterdir()}
    assert set(modes.values()) == {0}, modes
    state.close()


def test_a_full_disk_is_an_error_that_says_so(tmp_path: Path) -> None:
    state = StateDatabase(tmp_path / "state.sqlite", LIMITS)
    state.add(record("r1"))
    connection = connection_of(state)
    n_pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {n_pages + 2}").fetchall()
    with pytest.raises(DiskFull, match="full") as caught:
        state.add(record("r2"), [item("i2", 200_000)])
    assert str(tmp_path) in caught.value.message
    assert str(tmp_path) not in caught.value.public
    assert ids_in(tmp_path / "state.sqlite") == ["r1"]
    state.close()


WRITER = """
import sqlite3
import sys
from pathlib import Path
from server.responses.database import StateDatabase
from server.responses.records import Item, Limits, Record

state = StateDatabase(Path(sys.argv[1]), Limits(n_bytes=1 << 30, n_records=100_000))
n_known = sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM records").fetchone()[0]
for i in range(n_known, n_known + 100_000):
    before = f"r{i-1}" if i else None
    record = Record(id=f"r{i}", kind="response", owner="me", created=i, body=b"{}", previous=before)
    items = [Item(id=f"i{i}-{j}", body=b'"%b"' % (b"x" * 998)) for j in range(10)]
    state.add(record, items[:5], items[5:])
    print(i, flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_has_told(tmp_path: Path) -> None:
    """SIGKILL at whatever moment of a write: each record is there with all its items, or not at all."""
    path = tmp_path / "state.sqlite"
    told = -1
    for round_ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        assert first
        time.sleep(0.05 + 0.03 * round_)
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split(b"\n")
        writer.stdout.close()
        writer.wait()
        told = max(int(line) for line in (first, *rest[:-1]) if line.strip())
    state = StateDatabase(path, Limits(n_bytes=1 << 30, n_records=100_000))
    kept = ids_in(path)
    assert kept == [f"r{i}" for i in range(len(kept))]
    assert len(kept) in (told + 1, told + 2)  # the last one may be kept and not told
    for known in kept:
        assert len(state.items("me", "response", known)) == 5
        assert len(state.items("me", "response", known, "output")) == 5
    assert len(state.history("me", kept[-1])) == 10 * len(kept)
    assert connection_of(state).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    state.close()


def test_two_servers_share_the_file(tmp_path: Path) -> None:
    one, other = (StateDatabase(tmp_path / "state.sqlite", LIMITS) for _ in range(2))
    for i in range(20):
        (one, other)[i % 2].add(record(f"r{i}"))
    assert len(ids_in(tmp_path / "state.sqlite")) == 20
    opened = connection_of(one)
    one.close()
    other.close()
    with pytest.raises(sqlite3.ProgrammingError):
        opened.execute("SELECT 1")


def test_a_file_that_was_removed_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It isn't written on where nobody finds it: what was told to be kept is there for the next server."""
    folder = tmp_path / "kept"
    state = StateDatabase(folder / "state.sqlite", LIMITS)
    state.add(record("r1"))
    for removed in (folder, folder / "state.sqlite"):
        shutil.rmtree(removed) if removed.is_dir() else removed.unlink()
        state.renew(1.0)
        with pytest.raises(Missing):
            state.get("me", "response", "r1")
        state.add(record("r2"))
        assert ids_in(folder / "state.sqlite") == ["r2"]
    assert "opened anew" in caplog.text
    other = StateDatabase(folder / "state.sqlite", LIMITS)
    assert other.get("me", "response", "r2").id == "r2"
    other.close()
    state.close()


def test_a_file_that_gets_damaged_is_set_aside_once_that_shows(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = StateDatabase(path, LIMITS)
    for i in range(50):
        state.add(record(f"r{i}"), [item(f"i{i}", 5_000)])
    connection_of(state).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    connection_of(state).execute("PRAGMA shrink_memory").fetchall()
    with pytest.raises(StoreError, match="malformed"):
        [state.items("me", "response", f"r{i}") for i in range(50)]
    state.renew(1.0)
    state.add(record("new"))
    assert ids_in(path) == ["new"]
    assert path.with_suffix(".damaged").exists()
    state.close()


def test_a_history_is_bounded(tmp_path: Path) -> None:
    state = StateDatabase(tmp_path / "state.sqlite", Limits(n_bytes=1 << 30, n_records=100))
    large = MOST_HISTORY_BYTES // 2
    state.add(record("r1"), [item("i1", large)])
    state.add(record("r2", "r1"), [item("i2", large)])
    state.add(record("r3", "r2"), [item("i3", 2)])
    assert len(state.history("me", "r2")) == 2
    assert len(state.find_items("me", ["i1", "i2"])) == 2
    state.add(Record(id="c", kind="conversation", owner="me", created=1, body=b"{}"))
    for _ in range(2):
        state.append("me", "c", ["call"], lambda _: [item("j", large)])
    assert len(state.conversation("me", "c")) == 2
    for action in (
        lambda: state.history("me", "r3"),
        lambda: state.find_items("me", ["i1", "i2", "i3"]),
        lambda: state.append("me", "c", [], lambda _: [item("i4", 2)]),
    ):
        with pytest.raises(TooLong):
            action()
    assert len(state.items("me", "conversation", "c")) == 2  # what was refused isn't there
    state.add_to_conversation(record("r4"), "c", [], [item("answer")])
    with pytest.raises(TooLong):
        state.conversation("me", "c")
    state.close()


def test_pages_end_also_where_items_share_an_id(tmp_path: Path) -> None:
    state = StateDatabase(tmp_path / "state.sqlite", LIMITS)
    state.add(record("r1"), [item(item_id) for item_id in "abcabd"])

    def walk(*, newest_first: bool) -> str:
        found, after = "", None
        for _ in range(10):
            page = Page(limit=2, after=after, newest_first=newest_first)
            part = state.page("me", "response", "r1", page)
            assert part is not None
            found += "".join(known.id for known in part.items)
            if not part.has_more:
                return found
            after = part.items[-1].id
        raise AssertionError(found)

    # What stands between two items of one id may be left out, but no client reads for ever.
    assert walk(newest_first=False)[-1] == "d"
    assert walk(newest_first=True)[-1] == "a"
    assert state.page("me", "response", "r1", Page(limit=2, after="zz")) is None
    state.close()


async def test_a_lock_is_waited_for_once_however_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_thread, "BUSY_S", 0.5)
    kept = store.ResponseStore(tmp_path / "state.sqlite", LIMITS)
    await kept.create(record("r0"), [])
    with closing(sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        start_s = time.monotonic()
        answers = [kept.keep(partial(answered, f"r{i}")) for i in range(1, 11)]
        reasons = await asyncio.gather(*answers)
        took_s = time.monotonic() - start_s
        history = await kept.history("me", HistoryWanted(previous_response_id="r0"))  # only reads
        lock.execute("ROLLBACK")
    assert all(reason is not None and "locked" in reason for reason in reasons)
    assert 0.4 < took_s < 2.5
    assert history.items == []
    assert await kept.keep(partial(answered, "r11")) is None
    kept.close()
