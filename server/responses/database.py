"""`StateDatabase`: what is kept of responses, conversations and chat completions, in one SQLite file.

A record is one of them; its items are those of a response's input and output, of a conversation, or a
completion's messages. Lists come in pages, and a history is bounded: no caller gets more than it can handle.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from models.errors import StoreError
from server.responses.records import (
    CompletionFilter,
    Item,
    Kind,
    Limits,
    Missing,
    Page,
    Part,
    Record,
    Side,
    TooLong,
)
from server.state.state_file import StateFile

logger = logging.getLogger("corral.state")

_RECORD_BYTES = 200
"""About so many bytes a record takes beside its content."""
MOST_CHAIN = 10_000
"""A request may go back over so many responses."""
MOST_HISTORY_BYTES = 32 << 20
"""The items to which a request refers, or a conversation to which a client adds, have at most so many bytes:
what a client could send by itself."""

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
CREATE INDEX IF NOT EXISTS items_by_call ON items (record, json_extract(CAST(body AS TEXT), '$.call_id'));
"""

# Of items that share an id the last one counts: a client that reads on comes to the end.
_OLDEST_FIRST = (
    "SELECT max(place) FROM items WHERE record = ? AND side = 'input' AND id = ?",
    "SELECT id, body FROM items WHERE record = ? AND side = 'input' AND place > ? ORDER BY place LIMIT ?",
)
_NEWEST_FIRST = (
    _OLDEST_FIRST[0].replace("max(", "min("),
    _OLDEST_FIRST[1].replace("place > ?", "place < ?").replace("BY place", "BY place DESC"),
)
_BEYOND_ALL = (1 << 63) - 1


class _Described(msgspec.Struct):
    model: str
    metadata: dict[str, str]


class StateDatabase:
    """Methods raise StoreError where the file can't be read or written, and `Missing`."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._limits = limits
        self._file = StateFile(path, _SCHEMA, "or set response_store to false")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def renew(self, wait_s: float) -> None:
        """Open the file anew if it was removed or is damaged; called before each use, as StateFile says."""
        self._file.renew(wait_s)

    # --- records ---

    def add(self, record: Record, given: Sequence[Item] = (), made: Sequence[Item] = ()) -> None:
        """Keep a record with its items: those of its input and those of its output."""
        with self._file.transaction("keep an answer") as run:
            self._insert(run, record, given, made)
            self._evict(run)

    def add_to_conversation(
        self, record: Record, conversation: str, given: Sequence[Item], made: Sequence[Item]
    ) -> None:
        """Keep a response, and add its items to a conversation: both or neither. Raises Missing."""
        with self._file.transaction("keep an answer") as run:
            self._insert(run, record, given, made)
            self._append(run, record.owner, conversation, [*given, *made])
            self._evict(run)

    def append(
        self, owner: str, conversation: str, call_ids: Sequence[str], make: Callable[[list[Item]], list[Item]]
    ) -> list[Item]:
        """Add items to a conversation; return them. Raises Missing, TooLong, and what `make` raises.

        `make` gets the conversation's items that have one of `call_ids`, and returns the new ones.
        """
        with self._file.transaction("keep items") as run:
            self._get(run, owner, "conversation", conversation)
            rows = run.execute(
                "SELECT id, body FROM items INDEXED BY items_by_call WHERE record = ? AND "
                "json_extract(CAST(body AS TEXT), '$.call_id') IN (SELECT value FROM json_each(?)) "
                "ORDER BY place",
                (conversation, msgspec.json.encode(call_ids).decode()),
            )
            items = make([Item(id=item_id, body=body) for item_id, body in rows])
            self._append(run, owner, conversation, items)
            self._check_length(run, conversation)
            self._evict(run)
        return items

    def get(self, owner: str, kind: Kind, record_id: str) -> Record:
        """Return a record. Raises Missing."""
        with self._file.reading("read") as run:
            return self._get(run, owner, kind, record_id)

    def update(self, owner: str, kind: Kind, record_id: str, body: bytes) -> None:
        """Replace a record's body. Raises Missing."""
        with self._file.transaction("keep metadata") as run:
            record = self._get(run, owner, kind, record_id)
            run.execute(
                "UPDATE records SET body = ?, used = ?, bytes = bytes + ? WHERE id = ?",
                (body, time.time(), len(body) - len(record.body), record_id),
            )

    def delete(self, owner: str, kind: Kind, record_id: str) -> None:
        """Delete a record and its items. Raises Missing."""
        with self._file.transaction("delete") as run:
            self._get(run, owner, kind, record_id)
            self._remove(run, record_id)

    def completions(self, owner: str, wanted: CompletionFilter, page: Page) -> Part | None:
        """Return some completions, with their bodies; None: there is none with the id `page.after`."""
        with self._file.reading("read") as run:
            rows = run.execute(
                "SELECT id FROM records WHERE owner = ? AND kind = 'completion' "
                "ORDER BY created, (SELECT min(place) FROM items WHERE record = records.id)",
                (owner,),
            ).fetchall()
            ids = [row[0] for row in (reversed(rows) if page.newest_first else rows)]
            if page.after is not None:
                if page.after not in ids:
                    return None
                ids = ids[ids.index(page.after) + 1 :]
            found: list[Item] = []
            for record_id in ids:
                body = self._get(run, owner, "completion", record_id).body
                if _fits(wanted, body):
                    if len(found) == page.limit:
                        return Part(items=found, has_more=True)
                    found.append(Item(id=record_id, body=body))
            return Part(items=found, has_more=False)

    # --- items ---

    def items(self, owner: str, kind: Kind, record_id: str, side: Side = "input") -> list[Item]:
        """Return a record's items in order. Raises Missing."""
        with self._file.reading("read") as run:
            self._get(run, owner, kind, record_id)
            return self._items(run, record_id, side)

    def page(self, owner: str, kind: Kind, record_id: str, page: Page) -> Part | None:
        """Return some items of a record's input; None: there is none with the id `page.after`."""
        with self._file.reading("read") as run:
            self._get(run, owner, kind, record_id)
            first_place, following = _NEWEST_FIRST if page.newest_first else _OLDEST_FIRST
            place = -1
            if page.after is not None:
                (place,) = run.execute(first_place, (record_id, page.after)).fetchone()
                if place is None:
                    return None
            elif page.newest_first:
                place = _BEYOND_ALL
            rows = run.execute(following, (record_id, place, page.limit + 1)).fetchall()
        items = [Item(id=item_id, body=body) for item_id, body in rows[: page.limit]]
        return Part(items=items, has_more=len(rows) > page.limit)

    def item(self, owner: str, conversation: str, item_id: str) -> Item:
        """Return an item of a conversation. Raises Missing."""
        with self._file.reading("read") as run:
            self._get(run, owner, "conversation", conversation)
            row = run.execute(
                "SELECT body FROM items WHERE record = ? AND id = ? ORDER BY place LIMIT 1",
                (conversation, item_id),
            ).fetchone()
        if row is None:
            raise Missing(item_id)
        return Item(id=item_id, body=row[0])

    def delete_item(self, owner: str, conversation: str, item_id: str) -> None:
        """Delete an item of a conversation. Raises Missing."""
        with self._file.transaction("delete") as run:
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
        with self._file.reading("read") as run:
            chain: list[str] = []
            current: str | None = response_id
            n_bytes = 0
            while current is not None:
                chain.append(current)
                n_bytes += self._n_bytes(run, current)
                if len(chain) > MOST_CHAIN or n_bytes > MOST_HISTORY_BYTES:
                    raise TooLong
                current = self._get(run, owner, "response", current).previous
            found: list[Item] = []
            for record_id in reversed(chain):
                found += self._items(run, record_id, "input") + self._items(run, record_id, "output")
        self._touch(chain)
        return found

    def conversation(self, owner: str, conversation: str) -> list[Item]:
        """Return the items of a conversation that is gone on with. Raises Missing, TooLong."""
        with self._file.reading("read") as run:
            self._get(run, owner, "conversation", conversation)
            self._check_length(run, conversation)
            found = self._items(run, conversation, "input")
        self._touch([conversation])
        return found

    def find_items(self, owner: str, ids: Sequence[str]) -> dict[str, bytes]:
        """Return those of the items that are kept, of whatever record. Raises TooLong."""
        with self._file.reading("read") as run:
            found: dict[str, bytes] = {}
            n_bytes = 0
            for item_id in ids:
                row = run.execute(
                    "SELECT body FROM items WHERE id = ? AND owner = ? LIMIT 1", (item_id, owner)
                ).fetchone()
                if row is not None:
                    found[item_id] = row[0]
                    n_bytes += len(row[0])
                if n_bytes > MOST_HISTORY_BYTES:
                    raise TooLong
            return found

    # --- inside ---

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

    def _items(self, run: sqlite3.Connection, record_id: str, side: Side) -> list[Item]:
        rows = run.execute(
            "SELECT id, body FROM items WHERE record = ? AND side = ? ORDER BY place", (record_id, side)
        )
        return [Item(id=item_id, body=body) for item_id, body in rows]

    def _n_bytes(self, run: sqlite3.Connection, record_id: str) -> int:
        """Return the bytes of a record's items."""
        n_bytes: int = run.execute(
            "SELECT coalesce(sum(length(body)), 0) FROM items WHERE record = ?", (record_id,)
        ).fetchone()[0]
        return n_bytes

    def _check_length(self, run: sqlite3.Connection, conversation: str) -> None:
        """Raise TooLong for a conversation that no request may refer to. Its bytes are counted already."""
        row = run.execute("SELECT bytes - length(body) FROM records WHERE id = ?", (conversation,)).fetchone()
        if row[0] > MOST_HISTORY_BYTES + _RECORD_BYTES:
            raise TooLong

    def _touch(self, ids: Sequence[str]) -> None:
        """Note the use of a chain: its beginnings go no sooner than its end. An error costs only that."""
        now = time.time()
        try:
            with self._file.transaction("note that kept answers are used") as run:
                run.executemany("UPDATE records SET used = ? WHERE id = ?", [(now, each) for each in ids])
        except StoreError as error:
            logger.warning("%s", error.message)

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


def _fits(wanted: CompletionFilter, body: bytes) -> bool:
    if wanted.model is None and not wanted.metadata:
        return True
    known = msgspec.json.decode(body, type=_Described)
    return wanted.model in (None, known.model) and wanted.metadata.items() <= known.metadata.items()
