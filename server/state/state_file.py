"""`StateFile`: the SQLite file of what is kept, opened anew where it was removed or is damaged.

Every write is one transaction in write-ahead mode: a process that is killed leaves all of it or nothing. Used
by one thread.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import DiskFull, StoreError
from models.store.atomic_write import FREE_SOME, IN_THE_LOG, is_full

logger = logging.getLogger("corral.state")

BUSY_S = 5.0
"""Another server with the same file is waited for so many seconds."""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PERHAPS_FULL = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
"""So SQLite says that its files beside the database can't be made or grow, for want of room too."""
_PAGE_BYTES = 65_536
"""A disk with less room has none for the largest page that SQLite writes."""


class StateFile:
    """Methods raise StoreError where the file can't be opened, read or written; a full disk is DiskFull."""

    def __init__(self, path: Path, schema: str, advice: str, *, checkpoints: bool = True) -> None:
        """`schema` makes the tables that aren't there yet; errors end with `advice`, which is the fix.

        Without `checkpoints` no write waits for the disk: another user of the file moves what was written.
        """
        self._path = path
        self._schema = schema
        self._advice = advice
        self._checkpoints = checkpoints
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        """Device and inode of the file that is open."""
        self._is_damaged = False
        self._wait_ms = -1
        """The wait for others' locks that the connection has; -1: it isn't set."""
        self.renew()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def renew(self, wait_s: float = BUSY_S) -> None:
        """Make sure that the open file is the one that others will find; called before each use.

        One that was removed or replaced is opened anew, one that is damaged renamed. Others with a lock
        on the file are waited for at most `wait_s` in the use that follows.
        """
        with self.errors("open the file of what is kept"):
            if self._connection is not None and self._is_damaged:
                self.close()
                self._set_aside("it is damaged")
            elif self._connection is not None and self._opened != self._identity():
                logger.warning("%s was removed or replaced while it was used; it is opened anew", self._path)
                self.close()
            if self._connection is None:
                self._connection = self._open()
                self._opened, self._is_damaged, self._wait_ms = self._identity(), False, -1
            wait_ms = max(0, round(wait_s * 1000))
            if wait_ms != self._wait_ms:
                self._connection.execute(f"PRAGMA busy_timeout = {wait_ms}").fetchall()
                self._wait_ms = wait_ms

    @contextmanager
    def reading(self, action: str) -> Iterator[sqlite3.Connection]:
        """Read without a lock, naming the `action` in errors."""
        with self.errors(action):
            assert self._connection is not None
            yield self._connection

    @contextmanager
    def transaction(self, action: str) -> Iterator[sqlite3.Connection]:
        """Do all or nothing, naming the `action` in errors."""
        with self.reading(action) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:  # whatever it is, nothing stays half done
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def errors(self, action: str) -> Iterator[None]:
        """Raise SQLite's errors as StoreError, and remember if the file is damaged."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            # The last byte is the code without its details.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _DAMAGED:
                self._is_damaged = True
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            kind, fix = StoreError, f"{why}; {IN_THE_LOG}"
            if self._is_disk_full(error, code):
                kind, fix = DiskFull, FREE_SOME
            raise kind(
                f"can't {action}: {why} ({self._path}); free some space or check the permissions, "
                f"{self._advice}",
                f"can't {action}: {fix}",
            ) from error

    # --- inside ---

    def _is_disk_full(self, error: sqlite3.Error | OSError, code: int) -> bool:
        if isinstance(error, OSError):
            return is_full(error)
        return code == sqlite3.SQLITE_FULL or (code in _PERHAPS_FULL and _has_no_room(self._path.parent))

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return self._connected()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._set_aside(str(error))
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        try:
            self._path.chmod(0o600)
            for pragma in (
                "auto_vacuum = INCREMENTAL",
                "journal_mode = WAL",
                "synchronous = NORMAL",
                "secure_delete = ON",
                "journal_size_limit = 16777216",
                *(() if self._checkpoints else ("wal_autocheckpoint = 0",)),
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.executescript(self._schema)
        except BaseException:  # whatever it is, nothing stays half done
            connection.close()
            raise
        return connection

    def _set_aside(self, reason: str) -> None:
        """Rename a file that can't be read, so that answers can be kept again."""
        aside = self._path.with_suffix(".damaged")
        logger.warning(
            "%s can't be read (%s); it is now %s, and a new one is begun", self._path, reason, aside
        )
        self._path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def _has_no_room(folder: Path) -> bool:
    """True if a file in the folder can't grow, or no other one can be made there."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    has_no_names = disk.f_files > 0 and disk.f_favail == 0  # some file systems don't count them
    return has_no_names or disk.f_bavail * disk.f_frsize < _PAGE_BYTES
