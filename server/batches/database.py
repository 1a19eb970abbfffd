"""`BatchDatabase`: the records of files and batches, in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from server.batches.records import ACTIVE, BatchRecord, FileRecord, Missing, Status
from server.state.state_file import StateFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
    purpose TEXT NOT NULL, expires INTEGER NOT NULL, bytes INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS files_by_owner ON files (owner, place);
CREATE TABLE IF NOT EXISTS batches (
    place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
    status TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS batches_by_owner ON batches (owner, place);
CREATE INDEX IF NOT EXISTS batches_by_status ON batches (status);
"""
_ACTIVE_NAMES = ", ".join(f"'{status}'" for status in ACTIVE)
_SELECT_ACTIVE = f"SELECT body FROM batches WHERE status IN ({_ACTIVE_NAMES}) ORDER BY place"  # noqa: S608 - names of states
_SELECT_ENDED = f"SELECT place FROM batches WHERE status NOT IN ({_ACTIVE_NAMES}) ORDER BY place"  # noqa: S608 - names of states
_DELETE_ENDED = f"DELETE FROM batches WHERE place IN ({_SELECT_ENDED} LIMIT ?)"  # noqa: S608 - names of states

R = TypeVar("R", FileRecord, BatchRecord)


class BatchDatabase:
    """Methods raise StoreError where the file can't be read or written, and `Missing`."""

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, _SCHEMA, "or set batches to false")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def renew(self, wait_s: float) -> None:
        """Open the file anew if it was removed or is damaged; called before each use, as StateFile says."""
        self._file.renew(wait_s)

    # --- files ---

    def add_file(self, record: FileRecord) -> None:
        """Keep a file's record; a second time does nothing."""
        with self._file.transaction("keep a file") as run:
            _add_file(run, record)

    def file(self, owner: str, file_id: str) -> FileRecord:
        """Return a file's record. Raises Missing."""
        with self._file.reading("read a file's record") as run:
            row = run.execute(
                "SELECT body FROM files WHERE id = ? AND owner = ?", (file_id, owner)
            ).fetchone()
        if row is None:
            raise Missing(file_id)
        return msgspec.json.decode(row[0], type=FileRecord)

    def files(self, owner: str) -> list[FileRecord]:
        """Return the records of an owner's files, the oldest first."""
        return self._all("SELECT body FROM files WHERE owner = ? ORDER BY place", owner, FileRecord)

    def file_totals(self) -> tuple[int, int]:
        """Return the number of all files, and that of their bytes."""
        with self._file.reading("count files") as run:
            n_files, n_bytes = run.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM files").fetchone()
        return n_files, n_bytes

    def delete_file(self, owner: str, file_id: str) -> None:
        """Delete a file's record. Raises Missing."""
        with self._file.transaction("delete a file") as run:
            done = run.execute("DELETE FROM files WHERE id = ? AND owner = ?", (file_id, owner))
            if not done.rowcount:
                raise Missing(file_id)

    def expire_files(self, now: float) -> list[str]:
        """Delete the records of files whose time is over, but for those that a batch still needs."""
        with self._file.transaction("delete old files") as run:
            needed = {batch.input_file for batch in _active(run)}
            rows = run.execute("SELECT id FROM files WHERE expires <= ?", (now,)).fetchall()
            gone = [row[0] for row in rows if row[0] not in needed]
            run.executemany("DELETE FROM files WHERE id = ?", [(each,) for each in gone])
        return gone

    def known_files(self) -> set[str]:
        """Return the ids of all files, those of unfinished batches among them."""
        with self._file.reading("read the files' records") as run:
            known = {row[0] for row in run.execute("SELECT id FROM files")}
            for batch in _active(run):
                known |= {batch.output_file, batch.error_file}
        return known

    # --- batches ---

    def add_batch(self, record: BatchRecord, n_most: int) -> None:
        """Keep a new batch. Beyond `n_most` the oldest that have ended go."""
        with self._file.transaction("keep a batch") as run:
            run.execute(
                "INSERT INTO batches (id, owner, status, body) VALUES (?, ?, ?, ?)",
                (record.id, record.owner, record.status, msgspec.json.encode(record)),
            )
            (n_batches,) = run.execute("SELECT count(*) FROM batches").fetchone()
            run.execute(_DELETE_ENDED, (max(0, n_batches - n_most),))

    def batch(self, owner: str, batch_id: str) -> BatchRecord:
        """Return a batch. Raises Missing."""
        with self._file.reading("read a batch") as run:
            return _batch(run, owner, batch_id)

    def batches(self, owner: str) -> list[BatchRecord]:
        """Return an owner's batches, the oldest first."""
        return self._all("SELECT body FROM batches WHERE owner = ? ORDER BY place", owner, BatchRecord)

    def active_batches(self) -> list[BatchRecord]:
        """Return all batches that haven't ended, the oldest first."""
        with self._file.reading("read the batches") as run:
            return _active(run)

    def change_batch(
        self,
        owner: str,
        batch_id: str,
        allowed: Sequence[Status],
        change: Callable[[BatchRecord], BatchRecord],
        files: Sequence[FileRecord] = (),
    ) -> BatchRecord:
        """Change a batch in one of the `allowed` states, and keep `files` with it; return it as it is now.

        In another state nothing happens. Raises Missing.
        """
        with self._file.transaction("change a batch") as run:
            record = _batch(run, owner, batch_id)
            if record.status not in allowed:
                return record
            record = change(record)
            run.execute(
                "UPDATE batches SET status = ?, body = ? WHERE id = ?",
                (record.status, msgspec.json.encode(record), batch_id),
            )
            for each in files:
                _add_file(run, each)
        return record

    def _all(self, query: str, owner: str, kind: type[R]) -> list[R]:
        with self._file.reading("read a list") as run:
            return [msgspec.json.decode(row[0], type=kind) for row in run.execute(query, (owner,))]


def _add_file(run: sqlite3.Connection, record: FileRecord) -> None:
    run.execute(
        "INSERT OR IGNORE INTO files (id, owner, purpose, expires, bytes, body) VALUES (?, ?, ?, ?, ?, ?)",
        (
            record.id,
            record.owner,
            record.purpose,
            record.expires,
            record.n_bytes,
            msgspec.json.encode(record),
        ),
    )


def _batch(run: sqlite3.Connection, owner: str, batch_id: str) -> BatchRecord:
    row = run.execute("SELECT body FROM batches WHERE id = ? AND owner = ?", (batch_id, owner)).fetchone()
    if row is None:
        raise Missing(batch_id)
    return msgspec.json.decode(row[0], type=BatchRecord)


def _active(run: sqlite3.Connection) -> list[BatchRecord]:
    return [msgspec.json.decode(row[0], type=BatchRecord) for row in run.execute(_SELECT_ACTIVE)]
