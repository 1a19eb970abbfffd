"""Locks between processes. The kernel drops a lock when its holder dies, so none is ever left behind.

edit    one model's manifest and file folders are being changed: held for milliseconds
build   one model is being quantized: held for minutes; whoever waits learns by whom
alive   a staging folder has an owner
use     a file is open in a serving process; a shared lock in effect: one lock file per user of the file
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, Timeout

from models.errors import StoreError
from models.store.atomic_write import IN_THE_LOG, disk_errors, is_unwritable
from models.store.file_lock import acquire

_log = logging.getLogger("corral.store")

EDIT_TIMEOUT_S = 30.0
"""An edit waits at most this many seconds for another; edits take milliseconds."""


class HeldLock:
    """A lock that is held until `release()`, by any thread."""

    def __init__(self, lock: BaseFileLock, path: Path) -> None:
        self._lock = lock
        self._path = path

    def release(self, *, unlink: bool = False) -> None:
        """Let go; with `unlink` the lock file goes too (only for names that nobody else waits on)."""
        if unlink:
            self._path.unlink(missing_ok=True)
        self._lock.release()


def try_lock(path: Path) -> HeldLock | None:
    """Take the lock; return None if another holds it."""
    try:
        return HeldLock(acquire(path), path)
    except Timeout:
        return None


@contextmanager
def edit_lock(path: Path) -> Iterator[None]:
    """Hold the lock in the block. Raises StoreError when another process keeps it for `EDIT_TIMEOUT_S`."""
    _make_folder(path.parent)
    try:
        lock = acquire(path, EDIT_TIMEOUT_S)
    except Timeout:
        raise StoreError(
            f"another process has held {path} for more than {EDIT_TIMEOUT_S:.0f} s; end it and try again",
            f"another process has changed the store for more than {EDIT_TIMEOUT_S:.0f} s; try again later",
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def build_lock(
    path: Path,
    what: str,
    timeout_s: float | None = None,
    on_wait: Callable[[int | None], None] | None = None,
) -> Iterator[None]:
    """Wait for the lock, at most `timeout_s` (None: without limit).

    `on_wait` gets the holder's process id, where known, once and before the wait. Raises StoreError after
    `timeout_s`.
    """
    _make_folder(path.parent)
    holder = path.with_suffix(".pid")
    with disk_errors("keep locks", path.parent):
        held = try_lock(path)
    if held is None:
        pid = _read_pid(holder)
        if on_wait is not None:
            on_wait(pid)
        try:
            held = HeldLock(acquire(path, -1 if timeout_s is None else timeout_s, poll_s=0.1), path)
        except Timeout:
            by = f"process {pid}" if pid else "another process"
            raise StoreError(f"{what} is being made by {by}; wait until it is done, or end it") from None
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        holder.unlink(missing_ok=True)
        held.release()


@contextmanager
def use_lock(folder: Path, file: Path) -> Iterator[None]:
    """Say that this process has `file` open, until the end of the block or of the process.

    Process ids don't distinguish processes where containers share the folder: each has its own process 1.
    Where nothing can be written nothing can be removed, so nothing is said there.
    """
    path = folder / f"{_file_key(file)}.{os.getpid()}.{secrets.token_hex(8)}.use"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = try_lock(path)
    except OSError as error:
        if not is_unwritable(error):
            raise StoreError(
                f"can't keep locks: {error.strerror} ({folder}); set CORRAL_HOME",
                f"can't keep locks: {error.strerror}; {IN_THE_LOG}",
            ) from error
        _log.debug("%s can't be written: the use of %s isn't noted", folder, file)
        yield
        return
    assert held is not None, "the name is this use's own"
    try:
        yield
    finally:
        held.release(unlink=True)


def users(folder: Path, file: Path) -> list[int]:
    """Return the ids of processes that have `file` in use; forget those that died."""
    alive = []
    for path in sorted(folder.glob(f"{_file_key(file)}.*.use")):
        held = try_lock(path)
        if held is None:
            alive.append(int(path.name.split(".")[1]))
        else:
            held.release(unlink=True)
    return alive


def _make_folder(folder: Path) -> None:
    with disk_errors("keep locks", folder):
        folder.mkdir(parents=True, exist_ok=True)


def _file_key(file: Path) -> str:
    return hashlib.sha256(str(file).encode()).hexdigest()[:24]


def _read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
