"""Writing that survives a kill or a power cut: fsync, then rename.

The store, the GGUF writers and kept prefixes use it.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import DiskFull, StoreError

TEMPORARY_SUFFIX = ".tmp"
"""Hidden files that a killed writer leaves have this suffix."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)

FREE_SOME = "the disk of this server is full; free some space there, then try again"
"""The words about a full disk for a client over HTTP, who can't know more of it."""
IN_THE_LOG = "the server's log says where; check the permissions there, then try again"
"""The fix of other errors of files for a client over HTTP."""


def is_unwritable(error: OSError) -> bool:
    """True if the place can't be written at all: a read-only file system, or no permission."""
    return error.errno in _UNWRITABLE


def is_full(error: OSError) -> bool:
    """True if the disk has no room, or its user no more of it."""
    return error.errno in _FULL


def fsync_file(path: Path) -> None:
    """Return when the file's bytes are on the disk."""
    _fsync(path, os.O_RDONLY)


def fsync_folder(path: Path) -> None:
    """Return when the folder's entries (creations, renames) are on the disk."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def write_atomically(path: Path, *parts: bytes | bytearray | memoryview, private: bool = False) -> None:
    """Replace `path` by `parts`, one after the other, in one step.

    A reader, also after a kill, finds the old bytes or the new. `private`: only this user may read them.
    """
    write_pieces_atomically(path, parts, private=private)


def write_pieces_atomically(
    path: Path, pieces: Iterable[bytes | bytearray | memoryview], *, private: bool = False
) -> None:
    """Replace `path` by `pieces` as `write_atomically` does; each is made when those before are written."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # Ctrl-C leaves no half file either
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


@contextmanager
def disk_full(action: str, path: Path, setting: str = "CORRAL_HOME") -> Iterator[None]:
    """Turn "no space left" into DiskFull and let all else pass.

    `action` reads like "make demo", without a path; `setting` is the variable that moves `path` to another
    disk.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise DiskFull(
            f"can't {action}: no space left on the disk of {path}; free some, or set {setting} elsewhere",
            f"can't {action}: {FREE_SOME}",
        ) from error


@contextmanager
def disk_errors(action: str, path: Path, setting: str = "CORRAL_HOME") -> Iterator[None]:
    """Turn the OSErrors inside into DiskFull or StoreError."""
    try:
        with disk_full(action, path, setting):
            yield
    except OSError as error:
        raise StoreError(
            f"can't {action}: {error.strerror or error} ({error.filename or path}); check the permissions,"
            f" or set {setting}",
            f"can't {action}: {error.strerror or type(error).__name__}; {IN_THE_LOG}",
        ) from error


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
