"""`StateDatabase`: what is kept of responses, conversations and chat completions, in one SQLite file.

A record is one of them; its items are those of a response's input and output, of a conversation, or a
completion's messages. Every write is one transaction in write-ahead mode: a process that is killed leaves all
of it or nothing. Used by one thread.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from models.errors import StoreError

logger = logging.getLogger("corral.state")

Kind = Literal["response", "conversation", "completion"]
Side = Literal["input", "output"]

BUSY_S = 5.0
"""Another server with the same file is waited for so many seconds."""
_RECORD_BYTES = 200
"""About so many bytes a record takes beside its content."""
_MOST_CHAIN = 10_000
"""A chain of responses is followed so far back."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT NULL, created INTEGER NOT NULL,
    used REAL NOT NULL, bytes INTEGER NOT NULL, previous TEXT, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_by_use ON records (used, id, bytes);
CREATE TABLE IF NOT EXISTS items (
    place INTEGER PRIMARY KEY AUTOINCREMENT, record TEXT NOT NULL, side TEXT NOT NULL, owner TEXT NOT NULL,
    id TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS items_by_record ON items (record, side, place);
CREATE INDEX IF NOT EXISTS items_by_id ON items (id);
"""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One response, conversation or completion, without its items."""

    id: str
    kind: Kind
    owner: str
    created: int
    body: bytes
    """JSON of the object, as it is answered but for the output."""
    previous: str | None = None
    """The response before a response."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a record."""

    id: str
    body: bytes
    """The item's JSON."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Beyond either of these the records that were used longest ago go."""

    n_bytes: int
    n_records: int


class Missing(Exception):
    """There is no such record, or it is another owner's."""

    def __init__(self, record_id: str) -> None:
        super().__init__(record_id)
        self.record_id = record_id


class StateDatabase:
    """Methods raise StoreError where the file can't be read or written, and `Missing`."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._limits = limits
        self._path = path
        with self._errors("open"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._connection = self._opened()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._set_aside(error)
                self._connection = self._opened()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # --- records ---

    def add(self, record: Record, given: Sequence[Item] = (), made: Sequence[Item] = ()) -> None:
        """Keep a record with its items: those of its input and those of its output."""
        with self._transaction("keep an answer") as run:
            self._insert(run, record, given, made)
            self._evict(run)

    def add_to_conversation(
        self, record: Record, conversation: str, given: Sequence[Item], made: Sequence[Item]
    ) -> None:
        """Keep a response, and add its items to a conversation: both or neither. Raises Missing."""
        with self._transaction("keep an answer") as run:
            self._insert(run, record, given, made)
            self._append(run, record.owner, conversation, [*given, *made])
            self._evict(run)

    def append(self, owner: str, conversation: str, items: Sequence[Item]) -> None:
        """Add items to a conversation. Raises Missing."""
        with self._transaction("keep items") as run:
            self._append(run, owner, conversation, items)
            self._evict(run)

    def get(self, owner: str, kind: Kind, record_id: str) -> Record:
        """Return a record. Raises Missing."""
        with self._errors("read"):
            return self._get(self._connection, owner, kind, record_id)

    def update(self, owner: str, kind: Kind, record_id: str, body: bytes) -> None:
        """Replace a record's body. Raises Missing."""
        with self._transaction("keep metadata") as run:
            record = self._get(run, owner, kind, record_id)
            run.execute(
                "UPDATE records SET body = ?, used = ?, bytes = bytes + ? WHERE id = ?",
                (body, time.time(), len(body) - len(record.body), record_id),
            )

    def delete(self, owner: str, kind: Kind, record_id: str) -> None:
        """Delete a record and its items. Raises Missing."""
        with self._transaction("delete") as run:
            self._get(run, owner, kind, record_id)
            self._remove(run, record_id)

    def records(self, owner: str, kind: Kind) -> list[Record]:
        """Return all records of a kind, the oldest first."""
        with self._errors("read"):
            rows = self._connection.execute(
                "SELECT id, kind, owner, created, body, previous FROM records WHERE owner = ? AND kind = ? "
                "ORDER BY created, used",
                (owner, kind),
            )
            return [_record(row) for row in rows]

    # --- items ---

    def items(self, owner: str, kind: Kind, record_id: str, side: Side = "input") -> list[Item]:
        """Return a record's items in order. Raises Missing."""
        with self._errors("read"):
            self._get(self._connection, owner, kind, record_id)
            return self._items(record_id, side)

    def delete_item(self, owner: str, conversation: str, item_id: str) -> None:
        """Delete an item of a conversation. Raises Missing."""
        with self._transaction("delete") as run:
            self._get(run, owner, "conversation", conversation)
            rows = run.execute(
                "SELECT place, length(body) FROM items WHERE record = ? AND id = ?", (conversation, item_id)
            ).fetchall()
            if not rows:
                raise Missing(item_id)
            for place, n_bytes in rows:
                run.execute("DELETE FROM items WHERE place = ?", (place,))
                run.execute("UPDATE records SET bytes = bytes - ? WHERE id = ?", (n_bytes, conversation))

    def history(self, owner: str, response_id: str) -> list[Item]:
        """Return all items up to a response, its output the last. Raises Missing, of an older one too."""
        with self._transaction("read") as run:
            chain: list[str] = []
            current: str | None = response_id
            while current is not None and len(chain) < _MOST_CHAIN:
                chain.append(current)
                current = self._get(run, owner, "response", current).previous
            self._touch(run, chain)
            found: list[Item] = []
            for record_id in reversed(chain):
                found += self._items(record_id, "input") + self._items(record_id, "output")
            return found

    def conversation(self, owner: str, conversation: str) -> list[Item]:
        """Return the items of a conversation that is gone on with. Raises Missing."""
        with self._transaction("read") as run:
            self._get(run, owner, "conversation", conversation)
            self._touch(run, [conversation])
            return self._items(conversation, "input")

    def find_items(self, owner: str, ids: Sequence[str]) -> dict[str, bytes]:
        """Return those of the items that are kept, of whatever record."""
        with self._errors("read"):
            found: dict[str, bytes] = {}
            for item_id in ids:
                row = self._connection.execute(
                    "SELECT body FROM items WHERE id = ? AND owner = ? LIMIT 1", (item_id, owner)
                ).fetchone()
                if row is not None:
                    found[item_id] = row[0]
            return found

    # --- inside ---

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        try:
            self._path.chmod(0o600)
            for pragma in (
                "auto_vacuum = INCREMENTAL",
                "journal_mode = WAL",
                "synchronous = NORMAL",
                "secure_delete = ON",
                "journal_size_limit = 16777216",
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename a file that is no database, so that answers can be kept again."""
        aside = self._path.with_suffix(".damaged")
        logger.warning(
            "%s can't be read (%s); it is now %s, and a new one is begun", self._path, error, aside
        )
        self._path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _transaction(self, action: str) -> Iterator[sqlite3.Connection]:
        with self._errors(action):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"can't {action}: {error} ({self._path}); free some space or check the permissions, or set "
                "response_store to false"
            ) from error

    def _insert(
        self, run: sqlite3.Connection, record: Record, given: Sequence[Item], made: Sequence[Item]
    ) -> None:
        n_bytes = _RECORD_BYTES + len(record.body) + sum(len(item.body) for item in (*given, *made))
        if n_bytes > self._limits.n_bytes:
            raise StoreError(
                f"can't keep an answer of {n_bytes:,} bytes: the limit is {self._limits.n_bytes:,}; raise "
                "response_store_bytes"
            )
        run.execute(
            "INSERT INTO records (id, kind, owner, created, used, bytes, previous, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.id,
                record.kind,
                record.owner,
                record.created,
                time.time(),
                n_bytes,
                record.previous,
                record.body,
            ),
        )
        sides: tuple[tuple[Side, Sequence[Item]], ...] = (("input", given), ("output", made))
        for side, items in sides:
            self._insert_items(run, record.id, record.owner, side, items)

    def _insert_items(
        self, run: sqlite3.Connection, record_id: str, owner: str, side: Side, items: Sequence[Item]
    ) -> None:
        run.executemany(
            "INSERT INTO items (record, side, owner, id, body) VALUES (?, ?, ?, ?, ?)",
            [(record_id, side, owner, item.id, item.body) for item in items],
        )

    def _append(self, run: sqlite3.Connection, owner: str, conversation: str, items: Sequence[Item]) -> None:
        self._get(run, owner, "conversation", conversation)
        self._insert_items(run, conversation, owner, "input", items)
        run.execute(
            "UPDATE records SET bytes = bytes + ?, used = ? WHERE id = ?",
            (sum(len(item.body) for item in items), time.time(), conversation),
        )

    def _get(self, run: sqlite3.Connection, owner: str, kind: Kind, record_id: str) -> Record:
        row = run.execute(
            "SELECT id, kind, owner, created, body, previous FROM records "
            "WHERE id = ? AND owner = ? AND kind = ?",
            (record_id, owner, kind),
        ).fetchone()
        if row is None:
            raise Missing(record_id)
        return _record(row)

    def _items(self, record_id: str, side: Side) -> list[Item]:
        rows = self._connection.execute(
            "SELECT id, body FROM items WHERE record = ? AND side = ? ORDER BY place", (record_id, side)
        )
        return [Item(id=item_id, body=body) for item_id, body in rows]

    def _touch(self, run: sqlite3.Connection, ids: Sequence[str]) -> None:
        """Note the use of a chain: its beginnings go no sooner than its end."""
        now = time.time()
        run.executemany("UPDATE records SET used = ? WHERE id = ?", [(now, record_id) for record_id in ids])

    def _evict(self, run: sqlite3.Connection) -> None:
        n_records, n_bytes = run.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM records").fetchone()
        while n_records > self._limits.n_records or n_bytes > self._limits.n_bytes:
            oldest, freed = run.execute(
                "SELECT id, bytes FROM records INDEXED BY records_by_use ORDER BY used, id LIMIT 1"
            ).fetchone()
            self._remove(run, oldest)
            n_records, n_bytes = n_records - 1, n_bytes - freed

    def _remove(self, run: sqlite3.Connection, record_id: str) -> None:
        run.execute("DELETE FROM items WHERE record = ?", (record_id,))
        run.execute("DELETE FROM records WHERE id = ?", (record_id,))
        run.execute("PRAGMA incremental_vacuum(1000)").fetchall()


def _record(row: tuple[str, Kind, str, int, bytes, str | None]) -> Record:
    record_id, kind, owner, created, body, previous = row
    return Record(id=record_id, kind=kind, owner=owner, created=created, body=body, previous=previous)
