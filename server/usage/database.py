"""`UsageDatabase`: the usage in one SQLite file, a row per day, key and model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from server.state.state_file import BUSY_S, StateFile
from server.usage.entry import GROUPS, UsageEntry, UsageGroup

DAYS_KEPT: Final = 1100
"""Usage of more than so many days ago is deleted: three years are enough to compare."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL, owner TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL,
    errors INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (day, owner, key, model)
) WITHOUT ROWID;
"""
_ADD = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, owner, key, model) DO UPDATE SET
    requests = requests + excluded.requests, errors = errors + excluded.errors,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens, seconds = seconds + excluded.seconds
"""
_SUMS = (
    "sum(requests), sum(errors), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(seconds)"
)
_COLUMNS: dict[UsageGroup, tuple[str, ...]] = {"key": ("key", "owner"), "model": ("model",), "day": ("day",)}


class UsageDatabase:
    """Methods raise StoreError where the file can't be read or written."""

    def __init__(self, path: Path, *, checkpoints: bool = True) -> None:
        self._file = StateFile(path, _SCHEMA, "or set usage to false", checkpoints=checkpoints)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def renew(self, wait_s: float = BUSY_S) -> None:
        """Open the file anew if it was removed or is damaged; called before each use, as StateFile says."""
        self._file.renew(wait_s)

    def add(self, entries: Sequence[UsageEntry]) -> None:
        """Count all of the entries, or none."""
        if len(entries) == 1:  # one statement is a transaction by itself
            with self._file.reading("count usage") as run:
                run.execute(_ADD, _row(entries[0]))
            return
        with self._file.transaction("count usage") as run:
            run.executemany(_ADD, [_row(entry) for entry in entries])

    def delete_before(self, day: str) -> None:
        """Forget the days before this one."""
        with self._file.transaction("forget old usage") as run:
            run.execute("DELETE FROM usage WHERE day < ?", (day,))

    def totals(
        self, by: Sequence[UsageGroup] = GROUPS, since: str = "", owner: str | None = None
    ) -> list[UsageEntry]:
        """Return the sums from the day `since` on, of one owner or all, in the order of what they are by."""
        columns = [column for group in GROUPS if group in by for column in _COLUMNS[group]]
        where, given = "day >= ?", [since]
        if owner is not None:
            where, given = f"{where} AND owner = ?", [*given, owner]
        grouped = f"GROUP BY {', '.join(columns)} ORDER BY {', '.join(columns)}" if columns else ""
        query = f"SELECT {', '.join([*columns, _SUMS])} FROM usage WHERE {where} {grouped}"  # noqa: S608 - names of columns, none from outside
        with self._file.reading("read the usage") as run:
            rows = run.execute(query, given).fetchall()
        return [_entry(columns, row) for row in rows if row[len(columns)] is not None]


def first_day_kept(now: float) -> str:
    """Return the first day that is kept at a time in Unix seconds."""
    return (datetime.fromtimestamp(now, UTC).date() - timedelta(days=DAYS_KEPT)).isoformat()


def _row(entry: UsageEntry) -> tuple[str | int | float, ...]:
    return (
        entry.day,
        entry.owner,
        entry.key,
        entry.model,
        entry.requests,
        entry.errors,
        entry.prompt_tokens,
        entry.cached_tokens,
        entry.completion_tokens,
        entry.seconds,
    )


def _entry(columns: Sequence[str], row: Sequence[object]) -> UsageEntry:
    names = (*columns, "requests", "errors", "prompt_tokens", "cached_tokens", "completion_tokens", "seconds")
    return UsageEntry(**dict(zip(names, row, strict=True)))  # type: ignore[arg-type]  # as the schema has them
