"""What an interrupted run has done: a line per save, each telling of tensors that are on the disk for good.

    {"version": 1, "key": "…"}          whose work it is: the plan and its source
    {"tensors": [0, 1, 2]}              synced before this line was written
    {"tensors": [3, 5]}

A line that was cut short by a kill doesn't count, nor does any after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

JOURNAL_NAME: Final = "journal"


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    version: Literal[1] = 1


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tensors: tuple[int, ...]


class Journal:
    """The journal of one work folder. `done`: tensors of the plan, by number, that need not be made again."""

    def __init__(self, path: Path, key: str) -> None:
        """Read what is there if it is of the same `key`; else begin anew. Raises OSError."""
        self._path = path
        self.done: set[int] = _read(path, key)
        if not self.done:
            path.write_bytes(_encoded(_Head(key)))
            return
        # A line that was cut short must not be continued.
        path.write_bytes(_encoded(_Head(key)) + _encoded(_Line(tuple(sorted(self.done)))))

    def add(self, tensors: Iterable[int]) -> None:
        """These are on the disk. Returns when that is known there too. Raises OSError."""
        line = _Line(tuple(tensors))
        if not line.tensors:
            return
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(fd, _encoded(line))
            os.fdatasync(fd)
        finally:
            os.close(fd)
        self.done.update(line.tensors)


def key_of(path: Path) -> str | None:
    """Whose work the journal at `path` tells of; None if there is none, or none that can be read."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.readline(), type=_Head).key
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _read(path: Path, key: str) -> set[int]:
    if key_of(path) != key:
        return set()
    done: set[int] = set()
    for line in path.read_bytes().split(b"\n")[1:-1]:
        try:
            done.update(msgspec.json.decode(line, type=_Line).tensors)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            break
    return done


def _encoded(struct: msgspec.Struct) -> bytes:
    return msgspec.json.encode(struct) + b"\n"
